"""Requests that wait for other systems: single sign-on, PAM, the proxy, custom code.

Other systems may be slow or hang. Views that wait for them are marked in their room's
`urls.py`:

    path("login", waits_for_others(LoginView.as_view(), "POST"), name="account_login")

Such requests run in threads of their own, with a limit on their number and time. So
they can't use up the threads of other requests. While they wait they hold no database
connection (`release_connection`). Before that, few of them compute at once, because
Python runs one thread at a time, and other requests would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial, wraps
from threading import Semaphore, Thread, local
from typing import Any, TypeVar

import structlog
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404

from web.bodies import RefusedError
from web.environ import Environ, path_of
from web.paths import find_view

T = TypeVar("T")

THREADS = 16
# Most requests that wait for a thread; more are refused at once.
QUEUE = 200
# Seconds from a request's arrival until it is refused.
PATIENCE = 60.0
# Most abandoned calls that have not returned; while there are as many, none is made.
MOST_STUCK = 48

# Requests that compute at once before they wait, and seconds until one goes on anyway.
COMPUTING = 2
POLITENESS = 0.25

MARK = "waits_for_others"

logger = structlog.get_logger(__name__)


def waits_for_others(
    view: Callable[..., Any], *methods: str, unless_by_token: bool = False
) -> Callable[..., Any]:
    """Mark a view whose requests with these methods wait for other systems.

    With `unless_by_token`, requests with a token do not wait.
    """

    @wraps(view)
    def marked(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    setattr(marked, MARK, (frozenset(methods), unless_by_token))
    return marked


# A server that moves requests to the pool sets this key of a request's environment, and
# removes it in the pool.
MOVES = "hub.moves"


class Move(HttpResponse):
    """The response to a request that has to begin again in the pool.

    Middleware returns this, before the view has done anything, for a request that turns
    out to wait for another system.
    """

    def __init__(self) -> None:
        super().__init__(status=503)


def can_move(request: HttpRequest) -> bool:
    """Return whether a request may be moved to the pool, and is not there already."""
    return MOVES in request.META


def may_wait(environ: Environ) -> bool:
    """Return whether a request is for a marked view."""
    try:
        view = find_view(path_of(environ)).func
    except Resolver404:
        return False
    methods, unless_by_token = getattr(view, MARK, ((), False))
    return environ["REQUEST_METHOD"] in methods and not (
        unless_by_token and "HTTP_AUTHORIZATION" in environ
    )


class Turns:
    """Limits the requests of each caller in the pool; further ones wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lines: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        line = self.lines.get(caller)
        if line is None:
            line = self.lines[caller] = (asyncio.Semaphore(self.most), [])
        semaphore, members = line
        members.append(None)
        try:
            async with semaphore:
                yield
        finally:
            members.pop()
            if not members:
                del self.lines[caller]


class Place:
    """A request's place among those that compute, until it waits for another system."""

    def __init__(self, places: Semaphore) -> None:
        self.places = places
        # A request that found no place in time computes without one.
        self.is_taken = places.acquire(timeout=POLITENESS)

    def leave(self) -> None:
        if self.is_taken:
            self.is_taken = False
            self.places.release()


# The place of the request in this thread.
here = local()


class OutsidePool:
    """The threads of requests that wait for other systems.

    Each call has a thread of its own, and `threads` calls run at once. A call that does
    not return in time is abandoned. Another call may then start, but the thread goes
    on, because a thread can't be ended from outside. So that such threads do not fill
    the memory, calls are refused while there are `most_stuck` of them.
    """

    def __init__(
        self,
        threads: int = THREADS,
        queue: int = QUEUE,
        patience: float = PATIENCE,
        most_stuck: int = MOST_STUCK,
    ) -> None:
        self.places = asyncio.Semaphore(threads)
        self.computing = Semaphore(COMPUTING)
        self.turns = Turns(max(1, threads // 2))
        self.most = threads + queue
        self.patience = patience
        self.most_stuck = most_stuck
        self.count = 0
        self.stuck = 0

    async def run(self, caller: str, call: Callable[..., T], *args: Any) -> T:
        """Run a call in a thread; raise `RefusedError` if the pool is full or slow."""
        try:
            async with asyncio.timeout(self.patience), self.turns.turn(caller):
                return await self.in_line(partial(call, *args))
        except TimeoutError:
            raise RefusedError(
                503, "Another service took too long to answer; try again later."
            ) from None

    async def in_line(self, call: Callable[[], T]) -> T:
        if self.count >= self.most:
            raise RefusedError(
                503, "Too many requests wait for other services; try again later."
            )
        self.count += 1
        try:
            async with self.places:
                if self.stuck >= self.most_stuck:
                    raise RefusedError(
                        503,
                        "Another service, such as the accounts of this system, has not "
                        "answered many requests at all; try again later.",
                    )
                return await self.in_thread(call)
        finally:
            self.count -= 1

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run a call in a new thread; count it as stuck if it takes too long."""
        loop = asyncio.get_running_loop()
        result: Future[T] = Future()
        # So that the result of an abandoned call is not cancelled.
        result.set_running_or_notify_cancel()
        # At its end, the process does not wait for daemon threads.
        Thread(
            target=self.work, args=(result, call), name="outside", daemon=True
        ).start()
        try:
            return await asyncio.wrap_future(result)
        except asyncio.CancelledError:
            self.stuck += 1
            logger.warning("a call to another service does not return", all=self.stuck)
            result.add_done_callback(lambda _: self.tell_returned(loop))
            raise

    def work(self, result: Future[T], call: Callable[[], T]) -> None:
        here.place = Place(self.computing)
        try:
            finish(result, call)
        finally:
            here.place.leave()

    def tell_returned(self, loop: asyncio.AbstractEventLoop) -> None:
        def count() -> None:
            self.stuck -= 1

        # If the loop is closed, the count is no longer needed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(count)


def finish(result: Future[T], call: Callable[[], T]) -> None:
    """Make a call and store its result or exception."""
    try:
        result.set_result(call())
    except BaseException as error:
        result.set_exception(error)


def begin_to_wait() -> None:
    """Let another request of the pool compute while this one waits."""
    place: Place | None = getattr(here, "place", None)
    if place is not None:
        place.leave()


def release_connection() -> None:
    """Close this thread's database connection before it waits for another system.

    In a transaction the connection stays open. Only tests may wait inside of one.
    """
    begin_to_wait()
    if not connection.in_atomic_block:
        connection.close()
