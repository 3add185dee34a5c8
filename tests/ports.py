"""Ports for processes of tests.

Parallel tests must not get the same ports, nor a port whose owner has just ended,
because its test may still check whether the port is open. So each worker of the tests
has a range of its own, uses its ports in turn, and begins at a random one, because
tests of another checkout may run at the same time. The ranges exclude the system's
ports for outgoing connections, because one of them could be taken during a restart of a
hub.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress

FIRST, COUNT = 24000, 1000
RANGES = 8

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_first = FIRST + _worker % RANGES * COUNT
_next = random.SystemRandom().randrange(COUNT)


def free_ports(count: int) -> list[int]:
    """Choose ports at which nobody listens."""
    global _next
    found: list[int] = []
    for _ in range(COUNT):
        port = _first + _next
        _next = (_next + 1) % COUNT
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"of {COUNT} ports from {_first} on, not even {count} are free")
