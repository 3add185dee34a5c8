"""Ports for what tests start.

Parallel tests must not be given the same ports, nor one whose owner has just ended:
its test may still look whether anybody listens there. So each worker of the tests has a
range of its own, goes through it in turn, and begins anywhere in it, since tests of
another checkout may run beside. No range reaches those ports that the system gives to
outgoing connections: one of them could be gone while a hub is down for a moment.
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
