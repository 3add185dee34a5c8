"""The Unix socket through which the proxy, and nobody else, reaches the hub.

Users' servers run on the same machine and can open every port of it, so a connection
from 127.0.0.1 says nothing about who has made it. A file that only this user can open
does. What comes through the socket comes from the proxy, and what the headers of such
a request say of its client is the proxy's word.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)


def open_proxy_socket(place: str) -> list[socket.socket]:
    """Listen at a Unix socket, if one is wanted, and return what listens.

    Nothing does where the file system has no such sockets or the folder is somebody
    else's. The proxy then reaches the hub by its address, and is not told from others.
    """
    if not place:
        return []
    path = Path(place)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_uid not in (os.geteuid(), 0):
            raise PermissionError(errno.EPERM, "the folder belongs to somebody else")
        # An earlier hub has left it.
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
