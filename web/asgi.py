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
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from io import BytesIO
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections, connections
from django.http import HttpResponse, JsonResponse

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
from web.deferred import CLIENT_GONE, Deferred
from web.environ import Environ, make_environ, path_of
from web.outside import OutsidePool, may_wait
from web.paths import is_api_path
from web.threads import FairThreads

T = TypeVar("T")
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Seconds in which a refused client may finish sending and read the response.
LINGER = 2.0
# Seconds between two parts of a refused body, for each such body at this time. So they
# all take a small share of the event loop, however fast they arrive.
PAUSE = 0.005
# Seconds until a client that was refused because of overload may try again.
RETRY_AFTER = "5"

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
        self.outside = OutsidePool()

        async def ask(environ: Environ) -> bool:
            return await self.pool.run(caller_of(environ), is_identified, environ)

        self.bodies = BodyReader(
            settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
            settings.BODY_SECONDS,
            ask,
            own_limit,
            limit_of_method,
        )
        self.discarding = 0
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
            await self.send_and_close(response, receive, send)
            return
        if isinstance(response, Deferred):
            response = await settled(response, receive)
        await self.deliver(response, receive, send)

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
            return await self.pool.run(caller, self.call, environ)

    async def send_and_close(
        self, response: HttpResponse, receive: Receive, send: Send
    ) -> None:
        """Send a whole response, let the client finish, then close the connection."""
        response["Connection"] = "close"
        await send(head_of(response))
        message = {"type": "http.response.body", "body": response.content}
        await send(message | {"more_body": True})
        await self.discard(receive)
        await send({"type": "http.response.body", "body": b""})

    async def discard(self, receive: Receive) -> None:
        """Read a refused body to its end, or for `LINGER` seconds, and discard it.

        A connection that is closed while its client still sends is reset, and the
        client may lose the response.
        """
        self.discarding += 1
        try:
            async with asyncio.timeout(LINGER):
                while (await receive()).get("more_body"):
                    await asyncio.sleep(PAUSE * self.discarding)
        except TimeoutError:
            pass
        finally:
            self.discarding -= 1

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

    async def deliver(self, response: Any, receive: Receive, send: Send) -> None:
        """Send a response; end a stream when its client is gone."""
        if not response.streaming:
            await send(head_of(response))
            await send({"type": "http.response.body", "body": response.content})
            return
        try:
            await send(head_of(response))
            await unless_gone(self.stream(response, send), receive)
        finally:
            await asyncio.to_thread(response.close)

    async def stream(self, response: Any, send: Send) -> None:
        """Send an iterator's chunks; iterate an async one here, others in a thread."""
        message = {"type": "http.response.body", "more_body": True}
        if response.is_async:
            async for chunk in response:
                await send(message | {"body": chunk})
        else:
            chunks = iter(response)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                await send(message | {"body": chunk})
        await send({"type": "http.response.body", "body": b""})


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


async def settled(deferred: Deferred, receive: Receive) -> HttpResponse:
    """Wait for a deferred response, as long as the client and the server wait."""
    try:
        return await unless_gone(deferred.settle(), receive)
    except ClientGoneError:
        deferred.complete(HttpResponse(status=CLIENT_GONE))
        raise
    except asyncio.CancelledError:
        message = "The hub is stopping; try again in a moment."
        return deferred.complete(refusal(RefusedError(503, message)))


async def unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Await `work` for a client; cancel it and raise if the client disconnects."""

    async def departure() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working = asyncio.ensure_future(work)
    tasks = (working, asyncio.ensure_future(departure()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def head_of(response: Any) -> dict[str, Any]:
    """Return the message with status, headers and cookies of a response."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    for cookie in response.cookies.values():
        headers.append((b"set-cookie", cookie.OutputString().encode()))
    if (
        not response.streaming
        and response.status_code not in (204, 304)
        and not response.has_header("Content-Length")
    ):
        headers.append((b"content-length", str(len(response.content)).encode()))
    return {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": headers,
    }


def refusal(refused: RefusedError) -> HttpResponse:
    """Return a refusal in the format of the API's errors."""
    content = {"status": refused.status, "message": refused.message}
    response = JsonResponse(content, status=refused.status)
    response["X-JupyterHub-Version"] = settings.JUPYTERHUB_VERSION
    for name, value in settings.SITE_HEADERS.items():
        response[name] = value
    if refused.status == 503:
        response["Retry-After"] = RETRY_AFTER
    return response
