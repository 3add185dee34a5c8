"""Run a handler of the class for a request that the hub has received.

The hub sends the request as JSON, and gets the response with the answer in the same
form; no handler of the class listens at a port.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tornado import httputil

from accounts.hosting.process.application import Hosted

log = logging.getLogger("hub.authenticator")

Facts = dict[str, Any]

# The longest response of a handler.
MOST_BYTES = 4 << 20

# Seconds until the class's answer is given up; the hub does not wait longer.
PATIENCE = 60.0


@dataclass
class Exchange:
    """The hub's data for a handler during a request, and the handler's for the hub."""

    # Verified by the hub: the name of the session's user, and the value for forms.
    current_user: str = ""
    xsrf: str = ""

    answer: Facts | None = None
    page: Facts | None = None
    is_signed_in: bool = False
    is_refused: bool = False
    is_signed_out: bool = False


def exchange_of(handler: Any) -> Exchange:
    """Return the exchange to which a handler belongs."""
    found: Exchange = handler.request.exchange
    return found


@dataclass
class Recorder(httputil.HTTPConnection):
    """The connection of a request, which stores the response."""

    context: Any
    status: int = 0
    reason: str = ""
    headers: httputil.HTTPHeaders = field(default_factory=httputil.HTTPHeaders)
    body: bytearray = field(default_factory=bytearray)
    is_too_long: bool = False
    is_finished: asyncio.Event = field(default_factory=asyncio.Event)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Ignore the callback, because the connection to the browser is the hub's."""

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        if isinstance(start_line, httputil.ResponseStartLine):
            self.status, self.reason = start_line.code, start_line.reason
        self.headers = headers
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        self.is_too_long |= len(self.body) + len(chunk) > MOST_BYTES
        if not self.is_too_long:
            self.body += chunk
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def finish(self) -> None:
        self.is_finished.set()


async def respond(hosted: Hosted, asked: Facts) -> Facts:
    """Answer a request of a browser by the class's handler.

    Keys of `asked`: `method`, `uri`, `headers` (pairs), `body` (base64), `remote_ip`,
    `protocol`, `current_user` (a name), `xsrf`, `users` (facts, see `Hosted`).
    Keys of the result: `status`, `reason`, `headers` (pairs), `body` (base64),
    `page` (a page that the hub shows itself, see `handlers.PAGES`), `answer` (of whom
    the class has signed in, see `handlers`), `is_refused` (whether the class has been
    asked about a person whom it does not admit), `is_signed_out`, `saved` (auth state
    by the names of users, if nobody signs in).
    """
    hosted.put_users(asked.get("users", ()))
    exchange = Exchange(
        current_user=asked.get("current_user", ""), xsrf=asked.get("xsrf", "")
    )
    request, recorder = make_request(asked, exchange)
    hosted.application(request)
    async with asyncio.timeout(PATIENCE):
        await recorder.is_finished.wait()
    if recorder.is_too_long:
        log.error("The response is longer than %s bytes", MOST_BYTES)
        recorder.status, recorder.body = 500, bytearray()
        recorder.headers = httputil.HTTPHeaders()
        exchange.page = {"template": "error"}
    # A handler that fails afterwards has signed nobody in.
    is_signed_in = exchange.is_signed_in and recorder.status < 400
    answer = exchange.answer if is_signed_in else None
    saved = hosted.saved_states()
    if answer is not None:
        answer["saved"], saved = saved, {}
    return {
        "status": recorder.status,
        "reason": recorder.reason,
        "headers": [
            (name, value)
            for name, value in recorder.headers.get_all()
            # JupyterHub's page sets the value that the hub sets itself.
            if not (exchange.xsrf and value.startswith(f"_xsrf={exchange.xsrf};"))
        ],
        "body": b64encode(bytes(recorder.body)).decode(),
        "page": exchange.page,
        "answer": answer,
        "is_refused": exchange.is_refused,
        "is_signed_out": exchange.is_signed_out,
        "saved": saved,
    }


def make_request(
    asked: Facts, exchange: Exchange
) -> tuple[httputil.HTTPServerRequest, Recorder]:
    """Return a request with its form parsed, as tornado's server would make it.

    `asked` has `remote_ip` and `protocol`, which tornado takes from the connection, and
    `method`, `uri`, `headers` and `body`. The recorder stores the response.
    """
    recorder = Recorder(
        SimpleNamespace(
            remote_ip=asked.get("remote_ip", ""), protocol=asked.get("protocol", "http")
        )
    )
    headers = httputil.HTTPHeaders()
    for name, value in asked.get("headers", ()):
        headers.add(name, value)
    if "Host" not in headers:
        headers["Host"] = "127.0.0.1"
    request: Any = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine(
            asked.get("method", "GET"), asked.get("uri", "/"), "HTTP/1.1"
        ),
        headers=headers,
        body=b64decode(asked.get("body", "")),
        connection=recorder,
    )
    httputil.parse_body_arguments(
        headers.get("Content-Type", ""),
        request.body,
        request.body_arguments,
        request.files,
        headers,
    )
    for name, values in request.body_arguments.items():
        request.arguments.setdefault(name, []).extend(values)
    request.exchange = exchange
    return request, recorder
