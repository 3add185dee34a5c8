"""Free ports for local servers, each given to one server only.

A free port stays free until the server listens, which may take seconds. Of fifty
starts at once two would otherwise get the same port now and then.
"""

from __future__ import annotations

import socket
import time
from typing import Final

# Seconds after which a port that nobody listens at may be given again.
KEPT: Final = 120.0
# Tries to find a port that was not given lately.
TRIES: Final = 100

_given: dict[int, float] = {}


def free_port() -> int:
    """Return a port at which nobody listens and that no other start was given."""
    now = time.monotonic()
    for port in [port for port, at in _given.items() if now - at > KEPT]:
        del _given[port]
    for _ in range(TRIES):
        with socket.socket() as listener:
            listener.bind(("", 0))
            port = int(listener.getsockname()[1])
        if port not in _given:
            break
    _given[port] = now
    return port
