"""Free ports for local servers, each given to one server only.

A port counts as free until the server listens, which may take seconds. Of fifty
starts at once two would otherwise sometimes get the same port.
"""

from __future__ import annotations

import socket
import time
from typing import Final

# Seconds after which an unused port may be given again.
KEPT: Final = 120.0
# Tries to find a port that was not given lately.
TRIES: Final = 100

_given: dict[int, float] = {}


def free_port() -> int:
    """Return a free port that was given to no other start."""
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
