"""Between uvicorn and Django: how a request reaches a view, and in which thread.

uvicorn reads HTTP for this module, and this module calls Django's *WSGI* handler.
Django's own ASGI handler would open a new thread, and with it a new database
connection, for every request; and ASGI itself would cost a task on the event loop
and a dozen calls for each. A request takes one of three ways:

* inline, as soon as it has been read: short calls of the API by programs, if the
  database is near. A change of threads would cost as much as all the rest of them;
* in a thread of a small fixed pool, whose threads keep their connections:
  everything else, because it may write, wait or take long;
* as an event stream: a view returns a `StreamingHttpResponse` over an *async*
  iterator, which then runs on the loop and holds no thread while it waits. What
  such an iterator asks of the database it asks in `asyncio.to_thread`, which uses
  the same pool. A view that has to wait for something returns a `Deferred`, whose
  answer is awaited in the same way.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import _set_running_loop
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpResponse, JsonResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.paths import ENCODED_SLASH
from audit.statements import round_trip
from hubsite.headers import kept
from web.addresses import ForwardedHeaders
from web.deferred import AWAITS, CLIENT_GONE, Deferred

Environ = dict[str, Any]
Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

POOL_THREADS = 8

# Seconds that a near database takes to answer. The loop waits for it in short calls,
# and with more than this a thread that waits in its place is the cheaper way.
NEAR = 0.0005


# Headers of which one announces a body.
BODY = frozenset((b"content-length", b"transfer-encoding"))
# Bytes that a call may bring and still be short.
SHORT_BODY = 4096


class Bridge:
    """What calls a WSGI application for the connections of one worker process."""

    def __init__(self, wsgi: WSGIHandler) -> None:
        self.wsgi = wsgi
        self.pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="web")
        self.answer_short = getattr(wsgi, "answer_short", lambda e: wsgi(e, discard))
        self.api_prefix = f"{settings.HUB.base_url}hub/api/".encode()
        # Who asks, and the version: what is asked most.
        self.short_paths = frozenset(
            (self.api_prefix[:-1], self.api_prefix, self.api_prefix + b"user")
        )
        self.users_prefix = self.api_prefix + b"users/"
        self.users_path = self.api_prefix + b"users"
        self.group_prefix = self.api_prefix + b"groups/"
        self.body_limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        # Whether short calls are answered inline; those that take their database a
        # while only where it works in this process anyway.
        self.answers_inline = False
        self.is_embedded = connection.vendor == "sqlite"
        self.forwarded = ForwardedHeaders(getattr(settings, "TRUSTED_PROXIES", ()))
        # Whether somebody looks for connections whose time is over.
        self.is_sweeping = False
        # The names of headers as WSGI spells them; bounded, for clients make up
        # names.
        self.spellings: dict[bytes, str] = {
            b"content-type": "CONTENT_TYPE",
            b"content-length": "CONTENT_LENGTH",
        }

    def answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Answer a request; called in a thread of the pool."""
        environ = self.environ(scope, body)
        method = environ["REQUEST_METHOD"]
        has_token = "HTTP_AUTHORIZATION" in environ and "HTTP_COOKIE" not in environ
        if has_token and scope["raw_path"].startswith(self.api_prefix):
            return Answer(self.answer_short(environ), method)
        answer = Answer(self.wsgi(environ, discard), method)
        if not answer.response.streaming:
            answer.response.close()
        return answer

    # The short way

    def look_for_database(self) -> None:
        """Find out whether the database is near; to be called where requests are."""
        self.answers_inline = round_trip() < NEAR

    def is_short(self, scope: dict[str, Any]) -> bool:
        """Say whether a request is answered inline.

        Only calls without a cookie, whose session may be written on the way. Only
        reads of users, one page at most, and of one group: the members of many
        groups take long to read, and other reads ask the proxy. And reports of
        activity, which are kept in memory at first.
        """
        if not self.answers_inline:
            return False
        path: bytes = scope["raw_path"]
        headers = dict(scope["headers"])
        if b"cookie" in headers:
            return False
        if scope["method"] == "GET":
            return BODY.isdisjoint(headers) and (
                path in self.short_paths
                or path.startswith(self.users_prefix)
                or (self.is_embedded and self.is_list(path))
            )
        length = headers.get(b"content-length", b"")
        return (
            scope["method"] == "POST"
            and path.startswith(self.users_prefix)
            and path.endswith(b"/activity")
            and length.isdigit()
            and int(length) <= SHORT_BODY
        )

    def is_list(self, path: bytes) -> bool:
        """Say whether this names all users or one group with its members."""
        return path == self.users_path or (
            path.startswith(self.group_prefix)
            and b"/" not in path[len(self.group_prefix) :]
        )

    def answer_here(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Answer a short call, here and now.

        For the handler this is an ordinary thread: it neither awaits nor is it
        interrupted, so Django's guard against queries on a loop has nothing to
        guard, and the connection of this thread is kept.
        """
        loop = asyncio.get_running_loop()
        environ = self.environ(scope, body)
        _set_running_loop(None)
        try:
            # What a request sets for itself must not be there for the next.
            response = copy_context().run(self.answer_short, environ)
            return Answer(response, environ["REQUEST_METHOD"])
        finally:
            _set_running_loop(loop)

    # What comes in

    def environ(self, scope: dict[str, Any], body: bytes = b"") -> Environ:
        """Translate a request."""
        path = scope["raw_path"]
        if b"%" in path:
            # An encoded slash belongs to the name that it stands in, not to the
            # path. Views of the API put it there; pages hand it on as it is.
            of_api = path.startswith(self.api_prefix)
            slash = ENCODED_SLASH.encode() if of_api else b"%2F"
            path = slash.join(
                unquote_to_bytes(part)
                for part in path.replace(b"%2f", b"%2F").split(b"%2F")
            )
        environ: Environ = {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": path.decode("latin-1"),
            "RAW_URI": scope["raw_path"].decode("latin-1"),
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "SERVER_NAME": scope["server"][0],
            "SERVER_PORT": str(scope["server"][1]),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": scope["client"][0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scope["scheme"],
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input": BytesIO(body),
            AWAITS: True,
        }
        for name, value in scope["headers"]:
            key = self.spellings.get(name) or self.spell(name)
            if key in environ:
                joint = "; " if key == "HTTP_COOKIE" else ","
                environ[key] += joint + value.decode("latin-1")
            elif key:
                environ[key] = value.decode("latin-1")
        if body:
            environ["CONTENT_LENGTH"] = str(len(body))
        self.forwarded.apply(environ)
        return environ

    def spell(self, name: bytes) -> str:
        # In WSGI `X_Forwarded_For` would look like `X-Forwarded-For`, which only
        # proxies may set.
        if b"_" in name:
            return ""
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self.spellings) < 500:
            self.spellings[name] = key
        return key

    def refuse_body(self) -> Answer:
        message = f"The body is larger than {self.body_limit} bytes; send it in parts."
        refusal = JsonResponse({"status": 413, "message": message}, status=413)
        refusal["X-JupyterHub-Version"] = settings.HUB_VERSION
        return Answer(refusal, "")


class Answer:
    """A response of Django's, and its way to the client."""

    def __init__(self, response: Any, method: str) -> None:
        self.response = response
        self.method = method
        self.status: int = response.status_code
        # As WSGI has it: each character stands for a byte.
        self.headers = [*kept(response).values()]
        for cookie in response.cookies.values():
            text = cookie.OutputString().encode().decode("latin-1")
            self.headers.append(("Set-Cookie", text))
        self.body: bytes | None = None
        if isinstance(response, Deferred):
            # Nothing of it is sent.
            pass
        elif not response.streaming:
            self.body = response.content
            if self.status not in (204, 304) and "Content-Length" not in response:
                self.headers.append(("Content-Length", str(len(self.body))))
        elif method == "HEAD":
            self.body = b""

    def in_full(self, more: Headers) -> bytes:
        """Write all of it, as HTTP/1.1 has it."""
        others = [b"%b: %b\r\n" % header for header in more]
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        body = b"" if self.method == "HEAD" else self.body or b""
        return b"".join(
            (STATUS_LINE[self.status], *others, lines.encode("latin-1"), b"\r\n", body)
        )

    async def deliver(
        self, send: Send, receive: Receive, pool: ThreadPoolExecutor
    ) -> None:
        if isinstance(self.response, Deferred):
            settled = await self.settle(self.response, receive)
            if settled is not None:
                await settled.deliver(send, receive, pool)
            return
        head = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in self.headers
            ],
        }
        await send(head)
        if self.body is not None:
            await send({"type": "http.response.body", "body": self.body})
            return
        sending = asyncio.ensure_future(self.stream(send, pool))
        leaving = asyncio.ensure_future(self.departure(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await asyncio.get_running_loop().run_in_executor(pool, self.response.close)

    async def settle(self, deferred: Deferred, receive: Receive) -> Answer | None:
        """Wait for an answer; without its client there is none."""
        waiting = asyncio.ensure_future(deferred.settle())
        leaving = asyncio.ensure_future(self.departure(receive))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return Answer(waiting.result(), self.method)
            deferred.complete(HttpResponse(status=CLIENT_GONE))
            return None
        except asyncio.CancelledError:
            # The server ends, and has waited for this as long as it may.
            message = "The hub is stopping; try again in a moment."
            ended = JsonResponse({"status": 503, "message": message}, status=503)
            return Answer(deferred.complete(ended), self.method)
        finally:
            waiting.cancel()
            leaving.cancel()

    async def stream(self, send: Send, pool: ThreadPoolExecutor) -> None:
        """Send what an iterator yields: an async one here, another one in the pool."""
        if getattr(self.response, "is_async", False):
            async for chunk in self.response:
                await send(
                    {"type": "http.response.body", "body": chunk, "more_body": True}
                )
        else:
            loop, chunks = asyncio.get_running_loop(), iter(self.response)
            while (
                chunk := await loop.run_in_executor(pool, next, chunks, None)
            ) is not None:
                await send(
                    {"type": "http.response.body", "body": chunk, "more_body": True}
                )
        await send({"type": "http.response.body", "body": b""})

    async def departure(self, receive: Receive) -> None:
        """Return when the client has hung up."""
        while (await receive())["type"] != "http.disconnect":
            pass


def discard(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
    """Take what WSGI tells of a response apart from it: we ask the response."""
