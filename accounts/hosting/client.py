"""Calls to the host, the process of the authenticator class.

A call waits for the class, so views that make one are marked with `waits_for_others`.
"""

from __future__ import annotations

import json
import socket
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

import structlog
from django.conf import settings

from scopes.refusals import Unavailable
from web.outside import release_connection

logger = structlog.get_logger(__name__)

# Seconds until a call is given up, shorter than the pool's patience.
PATIENCE = 55.0
# Seconds for calls that need only the host itself.
AT_ONCE = 5.0
# Seconds for a host that is being started, at the start of the hub or after its end.
RESTART = 15.0
# Seconds between two attempts to reach it.
ATTEMPTS = 0.1

AWAY = (
    "Signing in is not possible at the moment, because the program that checks who "
    "signs in does not respond. It is started again automatically; try again in a few "
    "seconds. Everything else keeps working."
)
SLOW = (
    "The program that checks who signs in did not respond in time. Try again later; "
    "everything else keeps working."
)


# The time until which no call waits for the host, because an earlier wait failed.
waits_again_at = [0.0]

# The header of responses that identifies a start of the host.
STARTED = "X-Host-Started"


class _Seen:
    """The start of the host that responded last."""

    started: str = ""


seen = _Seen()


class ClassFailed(Exception):
    """The class raised an error; its text is in the log of the host only."""


class _Connection(HTTPConnection):
    """A connection to a Unix socket, or to `HOST:PORT`."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        super().__init__(
            "localhost" if address.startswith("/") else address, timeout=timeout
        )

    def connect(self) -> None:
        if not self.address.startswith("/"):
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.address)


def call(name: str, asked: Any = None, *, patience: float = PATIENCE) -> Any:
    """Make a call to the host and return its result.

    Waits for a host that is being started. Raises `Unavailable` if the host does
    not respond, and `ClassFailed` if the class raised an error. The thread keeps no
    database connection meanwhile.
    """
    release_connection()
    connection = _Connection(settings.AUTHENTICATOR_ADDRESS, patience)
    headers = {
        "Authorization": f"Bearer {settings.AUTHENTICATOR_KEY}",
        "Content-Type": "application/json",
        "Host": "localhost",
    }
    try:
        _connect(connection)
        connection.request("POST", f"/{name}", json.dumps(asked or {}), headers)
        response = connection.getresponse()
        body = response.read()
        seen.started = response.headers.get(STARTED, "")
    except TimeoutError:
        logger.warning("the authenticator does not respond in time", call=name)
        raise Unavailable(SLOW) from None
    except (OSError, HTTPException) as problem:
        logger.warning(
            "the authenticator does not respond", call=name, problem=str(problem)
        )
        raise Unavailable(AWAY) from None
    finally:
        connection.close()
    if response.status == 503:
        raise Unavailable(SLOW)
    if response.status != 200:
        raise ClassFailed(f"{name}: status {response.status}")
    return json.loads(body)


def _connect(connection: HTTPConnection) -> None:
    """Connect to the host, and wait for one that is being started."""
    given_up_at = time.monotonic() + RESTART
    while True:
        try:
            connection.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            now = time.monotonic()
            if now < waits_again_at[0]:
                raise
            if now >= given_up_at:
                waits_again_at[0] = now + RESTART
                raise
            time.sleep(ATTEMPTS)
        else:
            waits_again_at[0] = 0.0
            return
