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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets, bind_unix_socket

from accounts.hosting.process import handlers
from accounts.hosting.process.application import Hosted, Place
from accounts.hosting.process.calls import CALLS
from accounts.hosting.process.classes import load_class
from accounts.hosting.process.lanes import Lanes, TooManyCalls

log = logging.getLogger("hub.authenticator")

# The longest body of a call: a form of the hub, in base64, and the facts of users.
MOST_BYTES = 32 << 20


class CallHandler(web.RequestHandler):
    """Answers one call."""

    def initialize(self, lanes: Lanes, key: str) -> None:
        self.lanes, self.key = lanes, key

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
            result = await self.lanes.run(lambda hosted: call(hosted, asked))
            text = json.dumps(result)
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


def listen(address: str) -> list[socket.socket]:
    """Open the socket at a path, or at `HOST:PORT`."""
    if not address.startswith("/"):
        host, _, port = address.rpartition(":")
        return bind_sockets(int(port), host.strip("[]"))
    path = Path(address)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [bind_unix_socket(address, mode=0o600)]


def make_lanes(place: Place) -> Lanes:
    """Import the class; each lane makes an instance when it is first used."""
    authenticator_class = load_class(place.authenticator_class)
    handlers.install()
    return Lanes(lambda: Hosted(place, authenticator_class))


async def serve(
    place: Place, address: str, key: str, ready: Callable[[], None] = lambda: None
) -> None:
    """Answer calls until SIGTERM or SIGINT.

    The class is configured before the socket is opened, so that a class that refuses
    its settings stops the start.
    """
    lanes = make_lanes(place)
    await lanes.run(check)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    application = web.Application(
        [(r"/([a-z_]+)", CallHandler, {"lanes": lanes, "key": key})],
        log_function=lambda handler: None,
    )
    server = HTTPServer(application, max_buffer_size=MOST_BYTES)
    server.add_sockets(listen(address))
    ready()
    await stopping.wait()
    server.stop()
    if address.startswith("/"):
        with suppress(OSError):
            os.unlink(address)


async def check(hosted: Hosted) -> None:
    """Refuse a configuration with which JupyterHub would not start."""
    hosted.authenticator.check_allow_config()
