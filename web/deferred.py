"""Responses finished on the event loop, so that waiting holds no thread or connection.

A request that starts a server waits for seconds. It would hold a thread of the pool
and its database connection all that time, and eight such requests would block the hub.
So the view does the first part, and returns the rest to be awaited:

    def post(self, request: APIRequest, name: str) -> HttpResponse:
        server = want_running(name)
        return Deferred(partial(self.report, server))

    async def report(self, server: Server) -> HttpResponse:
        await until_ready(server)
        return await asyncio.to_thread(self.show, server)

The rest runs on the event loop of `web.asgi`, which must not be blocked by computing or
database queries; `asyncio.to_thread` runs them in the pool. The rest is cancelled when
the client disconnects. Its exceptions are handled like those of the view.

Middleware stores the session and messages before the rest runs, so later changes would
be lost. Any use of them in the rest is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

T = TypeVar("T")
Waiting = Callable[[], Awaitable[HttpResponse]]

# A server that can await a `Deferred` sets this key in a request's environment.
AWAITS = "hub.awaits"

# The client has disconnected; only the log and the metrics show this status.
CLIENT_GONE = 499


def not_expected(error: Exception) -> HttpResponse:
    raise error


class Deferred(HttpResponse):
    """A placeholder that passes through middleware before the response is known.

    Headers and cookies from middleware are copied to the response unless it has its
    own. The outermost middleware owns the placeholder and sets two functions:
    `explain` is called in a thread with an exception of `waiting` and returns the
    response to it; `finish` is called with the response in the end and returns the
    response to be sent.
    """

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(content_type="application/json", status=202)
        self.waiting = waiting
        self.explain: Callable[[Exception], HttpResponse] = not_expected
        self.finish: Callable[[HttpResponse], HttpResponse] = lambda answer: answer

    async def settle(self) -> HttpResponse:
        """Wait for the response."""
        try:
            answer = await self.waiting()
        except Exception as error:
            answer = await asyncio.to_thread(self.explain, error)
        return self.complete(answer)

    def complete(self, answer: HttpResponse) -> HttpResponse:
        """Copy the headers and cookies of the placeholder to a response."""
        for name, value in self.items():
            if name == "Vary":
                patch_vary_headers(answer, [part.strip() for part in value.split(",")])
            elif name not in ("Content-Type", "Content-Length"):
                answer.setdefault(name, value)
        for name, cookie in self.cookies.items():
            answer.cookies.setdefault(name, cookie)
        return self.finish(answer)

    def settle_here(self) -> HttpResponse:
        """Wait for the response in this thread, without the server's event loop."""
        with loop_beside() as run:
            return run(self.settle())


class Stored:
    """Replaces a session or messages that are stored; any use is an error.

    Only the session's key may be read, because forms of the response are bound to it.
    """

    def __init__(self, session_key: str | None = None) -> None:
        self.session_key = session_key

    def refuse(self, *args: Any) -> Any:
        raise RuntimeError(
            "The session and the messages of this request are stored already: use them "
            "before the view returns its Deferred"
        )

    __getattr__ = __getitem__ = __setitem__ = __delitem__ = refuse
    __contains__ = __iter__ = __len__ = refuse


def refuse_late_changes(request: Any) -> None:
    """Make any later use of the request's session or messages raise an error."""
    if hasattr(request, "session"):
        request.session = Stored(request.session.session_key)
    if hasattr(request, "_messages"):
        request._messages = Stored()


def iterate_here(chunks: AsyncIterator[T]) -> Iterator[T]:
    """Yield the values of an async iterator in this thread, like `settle_here`."""

    async def step() -> T:
        return await anext(chunks)

    with loop_beside() as run, suppress(StopAsyncIteration):
        while True:
            yield run(step())


@contextmanager
def loop_beside() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Provide a function that runs a coroutine on a loop in a thread of its own.

    Calls that the coroutine sends to threads run in this thread, which has a connection
    already, perhaps with an open transaction, as in tests. The loop needs another
    thread, because Django refuses queries in a thread that runs a loop.
    """
    calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        done = thread.submit(runner.run, coroutine)
        done.add_done_callback(lambda _: calls.put(None))
        while (call := calls.get()) is not None:
            call()
        return done.result()

    with (
        ThreadPoolExecutor(1, "loop") as thread,
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
    ):
        runner.get_loop().set_default_executor(CallingThread(calls))
        yield run


class CallingThread(ThreadPoolExecutor):
    """Executor whose calls run in the thread that called `loop_beside`."""

    def __init__(self, calls: SimpleQueue[Callable[[], None] | None]) -> None:
        super().__init__(1)
        self.calls = calls

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.put(partial(self.settle, future, partial(call, *args, **kwargs)))
        return future

    @staticmethod
    def settle(future: Future[Any], call: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
