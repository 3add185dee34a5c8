"""The hub as an ASGI application: Django's WSGI handler in a fixed pool of threads.

Django's own ASGI handler opens a thread, and with it a database connection, for each
request. Here a request is read and its response is sent on the event loop, and its
view runs in one of a few threads, which keep their connections:

1. the body is read, within limits (`web.bodies`);
2. the view is called in a thread of the pool (`web.threads`), or in a thread of its own
   if the view may wait for other systems (`web.outside`);
3. the response is sent. A `Deferred` is awaited and an async stream iterated on the
   loop, so neither holds a thread; `asyncio.to_thread` uses the threads of the pool.

Requests of one caller use at most a quarter of the threads, and further ones wait in a
queue, so that a busy program does not block other callers.

The application runs under any ASGI server; Django's handler alone runs under any WSGI
server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any

import structlog
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections, connections
from django.http import HttpResponse

from database.statements import vendor_in_use
from web.addresses import ForwardedHeaders, known_networks
from web.bodies import (
    BodyReader,
    ClientGoneError,
    Receive,
    RefusedError,
    limit_of_method,
    own_limit,
)
from web.deferred import Deferred
from web.environ import Environ, make_environ, path_of
from web.outside import MOVES, THREADS, Move, OutsidePool, may_wait
from web.paths import is_api_path
from web.responses import RETRY_AFTER, ResponseSender, Send, refusal, settled
from web.threads import FairThreads

logger = structlog.get_logger(__name__)


class Application:
    """Calls a WSGI handler for each request of one process.

    `is_identified` is called in a thread and returns whether a request's credentials
    are valid. `refused_page`, also called in a thread, returns the page of a refusal
    for browsers. `is_forged` returns, on the event loop, whether a request's token is
    known to be forged, and `refuse_forged` the response to such a request if no view is
    needed for it. `on_start` and `on_stop` are called when the server starts and stops.
    """

    def __init__(
        self,
        handler: WSGIHandler,
        *,
        is_identified: Callable[[Environ], bool] = lambda environ: True,
        is_forged: Callable[[Environ], bool] = lambda environ: False,
        refuse_forged: Callable[[Environ], HttpResponse | None] = lambda environ: None,
        refused_page: Callable[[RefusedError], HttpResponse] | None = None,
        on_start: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.handler = handler
        self.is_forged, self.refuse_forged = is_forged, refuse_forged
        self.refused_page = refused_page
        self.on_start, self.on_stop = on_start, on_stop
        threads: int = settings.WEB_THREADS
        # Calls wait for PostgreSQL most of the time, but hardly ever for SQLite.
        at_once = 1 if vendor_in_use() == "sqlite" else max(2, threads // 2)
        self.pool = FairThreads(threads, max(1, threads // 4), "web", at_once)
        # Most threads only wait for the class that signs people in.
        self.outside = OutsidePool(THREADS * (4 if settings.HUB.is_hosted else 1))

        async def ask(environ: Environ) -> bool:
            return await self.pool.run(caller_of(environ), is_identified, environ)

        self.bodies = BodyReader(
            settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
            settings.BODY_SECONDS,
            ask,
            own_limit,
            limit_of_method,
        )
        self.sender = ResponseSender()
        self.forwarded = ForwardedHeaders(known_networks())
        self.api_prefix = f"{settings.HUB.base_url}hub/api/".encode()

    async def __call__(
        self, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        # So that `asyncio.to_thread` uses threads that keep their connections.
        asyncio.get_running_loop().set_default_executor(self.pool.executor)
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "http":
            # At its shutdown the server cancels requests that take too long.
            with suppress(ClientGoneError, asyncio.CancelledError):
                await self.serve(scope, receive, send)
        else:
            raise ValueError(f"{scope['type']} is not supported")

    async def live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.to_thread(self.on_start)
        except Exception as failure:
            logger.exception("failed to start")
            await send({"type": "lifespan.startup.failed", "message": str(failure)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.on_stop)
        await send({"type": "lifespan.shutdown.complete"})

    async def serve(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Respond to one request."""
        environ = make_environ(scope, self.api_prefix)
        self.forwarded.apply(environ)
        try:
            response = await self.respond(environ, receive)
        except RefusedError as refused:
            logger.info(
                "request refused",
                status=refused.status,
                reason=refused.message,
                address=environ["REMOTE_ADDR"],
            )
            response = await self.refuse(environ, refused)
            await self.sender.send_and_close(response, receive, send)
            return
        if isinstance(response, Deferred):
            response = await settled(response, receive)
        await self.sender.send(response, receive, send)

    async def respond(self, environ: Environ, receive: Receive) -> HttpResponse:
        """Read the body, wait for a thread and call the view."""
        is_forged = self.is_forged(environ)
        caller = caller_of(environ, by_credential=not is_forged)
        async with self.bodies.read(environ, receive, caller) as body:
            if is_forged and (refused := self.refuse_forged(environ)) is not None:
                return refused
            if body:
                environ["wsgi.input"] = BytesIO(body)
                environ["CONTENT_LENGTH"] = str(len(body))
            del body
            if may_wait(environ):
                address = environ["REMOTE_ADDR"]
                return await self.outside.run(address, self.call_outside, environ)
            environ[MOVES] = True
            response = await self.pool.run(caller, self.call, environ)
            if isinstance(response, Move):
                del environ[MOVES]
                environ["wsgi.input"].seek(0)
                return await self.outside.run(caller, self.call_outside, environ)
            return response

    async def refuse(self, environ: Environ, refused: RefusedError) -> HttpResponse:
        """Return a page for a browser that loads a page, and JSON for programs."""
        if (
            self.refused_page is None
            or "text/html" not in environ.get("HTTP_ACCEPT", "")
            or is_api_path(path_of(environ))
        ):
            return refusal(refused)
        response = await asyncio.to_thread(self.refused_page, refused)
        if refused.status == 503:
            response["Retry-After"] = RETRY_AFTER
        return response

    def call(self, environ: Environ) -> HttpResponse:
        """Call the view, in a thread; respond even if Django's error page fails."""
        try:
            response: Any = self.handler(environ, ignore)
            if not response.streaming:
                response.close()
        except Exception:
            logger.exception("failed to answer", path=environ["PATH_INFO"])
            close_old_connections()
            return refusal(RefusedError(500, "Internal Server Error"))
        return response  # type: ignore[no-any-return]

    def call_outside(self, environ: Environ) -> HttpResponse:
        """Call a view that waits for other systems; its thread keeps no connection."""
        try:
            return self.call(environ)
        finally:
            connections.close_all()


def ignore(status: str, headers: Any, *problem: Any) -> Callable[[bytes], object]:
    """Accept the head of a WSGI response, which is read from the response itself."""
    return lambda data: None


def caller_of(environ: Environ, *, by_credential: bool = True) -> str:
    """Return the key of the caller: the credential, or else address and path.

    The path is included so that a health check does not wait behind sign-ins from the
    same network. A client that invents credentials is one caller, not many.
    """
    credential = by_credential and (
        environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE")
    )
    return str(credential or f"{environ['REMOTE_ADDR']} {environ['PATH_INFO']}")
