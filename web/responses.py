"""Responses sent through ASGI: whole ones, streams, deferred ones and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpResponse, JsonResponse

from web.bodies import ClientGoneError, Receive, RefusedError
from web.deferred import CLIENT_GONE, Deferred

T = TypeVar("T")
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Seconds in which a refused client may finish sending and read the response.
LINGER = 2.0
# Seconds between two parts of a refused body, for each such body at this time. So they
# all take a small share of the event loop, however fast they arrive.
PAUSE = 0.005
# Seconds until a client that was refused because of overload may try again.
RETRY_AFTER = "5"


class ResponseSender:
    """Sends the responses of one application."""

    def __init__(self) -> None:
        # Refused requests whose body still arrives.
        self.discarding = 0

    async def send(self, response: Any, receive: Receive, send: Send) -> None:
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
