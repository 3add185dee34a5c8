"""Bodies of requests, read with limits on size, time and memory.

A small body is read from every client. A larger one is read only if the request has
valid credentials, and if there is memory for it. At most `LARGE_BODIES` bodies of full
size are in memory at once, at most one of each caller. A further one waits and is not
read meanwhile. Large parts are received in turn, with a pause after each, so that the
event loop has time for other requests.

Views that need less than the general limit state their own, with `limits_bodies`. A
body that is longer is refused before it is read.

A view that needs no credentials may state a limit of its own for its bodies:

    path("tokens/leaked", accepts_bodies(LeakedView.as_view(), 256 * 1024))
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from django.urls import Resolver404

from web.environ import Environ, path_of
from web.paths import find_view

Receive = Callable[[], Awaitable[dict[str, Any]]]

# The largest body that is read without credentials: forms of sign-in and OAuth.
SMALL = 64 * 1024
# Bodies of full size that one process keeps in memory at once.
LARGE_BODIES = 4
# The memory for bodies of views with a limit of their own, for all callers and for one.
OPEN_MEMORY, OPEN_MEMORY_EACH = 8 * 1024 * 1024, 1024 * 1024

# A part of this size, in bytes, takes a turn of so many seconds. The loop needs a tenth
# of that to receive the largest part, which has 256 KB.
LARGE_PART, TURN = 16 * 1024, 0.002

MARK = "accepts_bodies"
LIMITS = "limits_bodies"


def accepts_bodies(view: Callable[..., Any], largest: int) -> Callable[..., Any]:
    """Mark a view that reads bodies up to this size from clients without credentials.

    Larger bodies are refused, with credentials or without.
    """

    @wraps(view)
    def marked(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    setattr(marked, MARK, largest)
    return marked


def own_limit(environ: Environ) -> int | None:
    """Return the limit that the view of a request states, if it states one."""
    try:
        view = find_view(path_of(environ)).func
    except Resolver404:
        return None
    return getattr(view, MARK, None)


def limits_bodies(
    view: Callable[..., Any], largest: Mapping[str, int]
) -> Callable[..., Any]:
    """Set a view's longest bodies in bytes, by method; other methods read `SMALL`."""
    setattr(view, LIMITS, largest)
    return view


def limit_of_method(environ: Environ) -> int | None:
    """Return the limit that a view has set for the method of a request, if any."""
    try:
        view = find_view(path_of(environ)).func
    except Resolver404:
        return None
    limits: Mapping[str, int] | None = getattr(view, LIMITS, None)
    return None if limits is None else limits.get(environ["REQUEST_METHOD"], SMALL)


class RefusedError(Exception):
    """A request that is answered without a view."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ClientGoneError(Exception):
    """The client has closed the connection, so a response can't be sent."""


class BodyReader:
    """Reads bodies; `is_identified` returns whether a request's credentials are valid.

    `own_limit` returns the limit of a view that needs none, see `accepts_bodies`, and
    `limit_of_method` that of any other, see `limits_bodies`.

    The client has `seconds` to send the body, and again as many after each quarter of
    `largest` bytes. So a large body may take longer, if the client sends at least a
    quarter of `largest` in `seconds`, and a client that stops sending is dropped soon.
    """

    def __init__(
        self,
        largest: int,
        seconds: float,
        is_identified: Callable[[Environ], Awaitable[bool]],
        own_limit: Callable[[Environ], int | None] = lambda environ: None,
        limit_of_method: Callable[[Environ], int | None] = lambda environ: None,
    ) -> None:
        self.largest = largest
        self.seconds = seconds
        self.is_identified = is_identified
        self.own_limit = own_limit
        self.limit_of_method = limit_of_method
        self.memory = Memory(largest * LARGE_BODIES, largest)
        # Apart from the other, so that strangers can't use that up.
        self.open_memory = Memory(OPEN_MEMORY, OPEN_MEMORY_EACH)
        self.turns = asyncio.Lock()

    @asynccontextmanager
    async def read(
        self, environ: Environ, receive: Receive, caller: str
    ) -> AsyncIterator[bytes]:
        """Read a body and account for its memory until the response is sent."""
        length = environ.get("CONTENT_LENGTH") or "0"
        is_chunked = "HTTP_TRANSFER_ENCODING" in environ
        if length == "0" and not is_chunked:
            yield b""
            return
        # The server's parser may accept other lengths.
        size = self.largest if is_chunked or not length.isdigit() else int(length)
        limit = self.own_limit(environ) if size > SMALL else None
        if limit is not None:
            # The body is read up to the limit, whatever size a header states.
            if size > limit and not is_chunked:
                raise too_large(limit)
            address = environ["REMOTE_ADDR"]
            async with self.open_memory.reserved(address, limit, self.seconds):
                body, _ = await self.rest(receive, limit, limit)
                yield body
            return
        limit = self.limit_of_method(environ)
        largest = self.largest if limit is None else min(self.largest, limit)
        if is_chunked:
            size = largest
        if size > largest:
            raise too_large(largest)
        if size > SMALL and not is_chunked:
            await self.require_credentials(environ)
            async with self.memory.reserved(caller, size, self.seconds):
                body, _ = await self.rest(receive, largest, largest)
                yield body
            return
        begin, is_whole = await self.rest(receive, SMALL, largest)
        if len(begin) <= SMALL:
            yield begin
            return
        await self.require_credentials(environ)
        async with self.memory.reserved(caller, largest, self.seconds):
            if is_whole:
                yield begin
                return
            body, _ = await self.rest(receive, largest, largest, begin)
            yield body

    async def rest(
        self, receive: Receive, enough: int, largest: int, begin: bytes = b""
    ) -> tuple[bytes, bool]:
        """Return a body of which `begin` is read, and whether that is all of it.

        Reading ends early once there are more than `enough` bytes; more than `largest`
        are refused.
        """
        parts, size, step = [begin], len(begin), len(begin)
        is_whole = False
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.seconds) as timer:
                while size <= enough:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if not message.get("more_body"):
                        is_whole = True
                        break
                    await self.take_turn(len(parts[-1]))
                    if size - step > self.largest // 4:
                        step = size
                        timer.reschedule(loop.time() + self.seconds)
        except TimeoutError:
            raise RefusedError(
                408, f"The body did not arrive within {self.seconds:g} seconds."
            ) from None
        if size > largest:
            raise too_large(largest)
        return b"".join(parts), is_whole

    async def take_turn(self, size: int) -> None:
        """Wait until other requests had time, if a part was large."""
        if size >= LARGE_PART:
            async with self.turns:
                await asyncio.sleep(TURN)

    async def require_credentials(self, environ: Environ) -> None:
        if not await self.is_identified(environ):
            raise RefusedError(
                403,
                "Missing or invalid credentials. Without them no body larger than "
                f"{SMALL} bytes is read.",
            )


def too_large(limit: int) -> RefusedError:
    return RefusedError(
        413,
        f"The body is larger than {limit} bytes, the limit of this address: send less, "
        "or send it in parts.",
    )


class Memory:
    """Memory for bodies, with a limit in total and for each caller."""

    def __init__(self, total: int, each: int) -> None:
        self.free = total
        self.each = each
        self.taken: Counter[str] = Counter()
        self.changed = asyncio.Condition()

    @asynccontextmanager
    async def reserved(
        self, caller: str, size: int, seconds: float
    ) -> AsyncIterator[None]:
        """Reserve memory; wait at most so many seconds for it."""

        def fits() -> bool:
            return size <= self.free and self.taken[caller] + size <= self.each

        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(fits)
                self.free -= size
                self.taken[caller] += size
        except TimeoutError:
            raise RefusedError(
                503, "Too many large bodies are being read; try again in a moment."
            ) from None
        try:
            yield
        finally:
            self.free += size
            self.taken -= Counter({caller: size})
            async with self.changed:
                self.changed.notify_all()
