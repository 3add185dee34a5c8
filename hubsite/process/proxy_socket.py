"""The Unix socket through which only the proxy reaches the hub.

Users' servers run on the same machine and can connect to all its ports, so the address
127.0.0.1 does not identify a client. Only this user can open the file of the socket. So
requests through the socket come from the proxy, and their headers about the client can
be trusted.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)


def open_proxy_socket(place: str) -> list[socket.socket]:
    """Listen at a Unix socket, if one is configured, and return the listening sockets.

    The list is empty if the file system has no sockets or the folder belongs to another
    user. The proxy then reaches the hub by its address, like any other client.
    """
    if not place:
        return []
    path = Path(place)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_uid not in (os.geteuid(), 0):
            raise PermissionError(errno.EPERM, "the folder belongs to somebody else")
        # An earlier hub has left the file.
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(place)
        finally:
            os.umask(before)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        logger.warning(
            "The hub can't listen at the Unix socket for its proxy, so clients' "
            "addresses are not known; name another place in HUB_PROXY_SOCKET",
            path=place,
            problem=error.strerror or str(error),
        )
        return []
    return [listener]
