"""The server of the host: a Unix socket, or a port, for calls of the hub only.

    POST /NAME   {...}  ->  200 {...}

with the key of the hub in `Authorization`. Status 500 stands for any failure of the
class, without its text, which is in the log; 503 for too many calls at once.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets, bind_unix_socket

from accounts.hosting.process import handlers
from accounts.hosting.process.application import Hosted, Known, Place
from accounts.hosting.process.calls import CALLS, LONG, PROCESS
from accounts.hosting.process.checks import check
from accounts.hosting.process.classes import load_class
from accounts.hosting.process.lanes import Lanes, TooManyCalls

log = logging.getLogger("hub.authenticator")

# Seconds between two looks at calls that have not returned.
LOOK = 1.0
# The longest body of a call: a form of the hub, in base64, and the facts of users.
MOST_BYTES = 32 << 20


class CallHandler(web.RequestHandler):
    """Answers one call."""

    def initialize(self, lanes: Lanes, key: str) -> None:
        self.lanes, self.key = lanes, key

    def set_default_headers(self) -> None:
        self.set_header("X-Host-Started", PROCESS)

    def prepare(self) -> None:
        sent = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(sent.encode(), f"Bearer {self.key}".encode()):
            raise web.HTTPError(403)

    async def post(self, name: str) -> None:
        call = CALLS.get(name)
        if call is None:
            raise web.HTTPError(404)
        asked = json.loads(self.request.body or b"{}")
        try:
            result = await self.lanes.run(
                lambda hosted: call(hosted, asked), is_long=name in LONG
            )
            text = json.dumps(result, default=listed)
        except TooManyCalls:
            log.error("Too many calls have not returned; this one is refused")
            self.set_status(503)
            return
        except Exception:
            log.exception("%s failed", name)
            self.set_status(500)
            return
        self.set_header("Content-Type", "application/json")
        self.finish(text)


def listed(value: object) -> list[object]:
    """Return a set as JSON can hold it; auth state of some plugins has sets."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    raise TypeError(f"{type(value).__name__} can't be sent to the hub as JSON")


def listen(address: str) -> list[socket.socket]:
    """Open the socket at a path, or at `HOST:PORT`."""
    if not address.startswith("/"):
        host, _, port = address.rpartition(":")
        return bind_sockets(int(port), host.strip("[]"))
    path = Path(address)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [bind_unix_socket(address, mode=0o600)]


class Host:
    """The server, with the class that it answers by."""

    def __init__(self, place: Place, address: str, key: str) -> None:
        self.address = address
        authenticator_class = load_class(place.authenticator_class)
        handlers.install()
        known = Known()
        self.lanes = Lanes(lambda: Hosted(place, authenticator_class, known))
        application = web.Application(
            [(r"/([a-z_]+)", CallHandler, {"lanes": self.lanes, "key": key})],
            log_function=lambda handler: None,
        )
        self.server = HTTPServer(application, max_buffer_size=MOST_BYTES)

    async def start(self) -> None:
        """Check the class, then listen: a class that refuses its settings ends this."""
        await self.lanes.run(checked, is_long=True)
        self.server.add_sockets(listen(self.address))

    def stop(self) -> None:
        self.server.stop()
        if self.address.startswith("/"):
            with suppress(OSError):
                os.unlink(self.address)


async def checked(hosted: Hosted) -> None:
    check(hosted)


async def try_settings(place: Place) -> None:
    """Raise an error if the class refuses its settings; warnings are in the log."""
    await Host(place, "", "").lanes.run(checked, is_long=True)


async def serve(place: Place, address: str, key: str) -> int:
    """Answer calls until SIGTERM or SIGINT, or until too many threads are blocked.

    Returns the exit status of the process; with one that is not 0, it is to be started
    again.
    """
    host = Host(place, address, key)
    await host.start()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    status = 0
    while not stopping.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK)
        if not stopping.is_set() and host.lanes.are_spent:
            log.error(
                "%s calls of the class have not returned, and their threads can't be "
                "ended; this process ends, to be started again",
                len(host.lanes.lost),
            )
            status = os.EX_TEMPFAIL
            break
    host.stop()
    return status
