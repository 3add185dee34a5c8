"""Answers that take a while to come, and hold nothing while they don't.

Starting a server makes a request wait for seconds. A thread of the pool and its
database connection would be held by it all that time, and eight such requests would
stop the hub. So the view does its part, and returns what is left to be awaited:

    def post(self, request: APIRequest, name: str) -> HttpResponse:
        server = want_running(name)
        return Deferred(partial(self.report, server))

    async def report(self, server: Server) -> HttpResponse:
        await until_ready(server)
        return await asyncio.to_thread(self.show, server)

What is awaited runs on the event loop of `hubsite.workers`, where nothing may compute
or ask the database; `asyncio.to_thread` leads back into the pool for that. It is
cancelled when the client hangs up. Whatever it raises is answered as if the view had
raised it.
"""

from __future__ import annotations

import asyncio
from asyncio.events import _set_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

T = TypeVar("T")
Waiting = Callable[[], Awaitable[HttpResponse]]

# Who can await a `Deferred` says so by this key of a request's environment.
AWAITS = "hub.awaits"

# The client has hung up; nobody reads this status but the log and the metrics.
CLIENT_GONE = 499


class Deferred(HttpResponse):
    """A placeholder, which takes the way of all responses before the answer is known.

    What middleware puts on it is for the answer: headers and cookies that the answer
    has not got itself. `finish` is called with the answer in the end, and returns it
    as it shall be sent.
    """

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(content_type="application/json", status=202)
        self.waiting = waiting
        self.finish: Callable[[HttpResponse], HttpResponse] = lambda answer: answer

    async def settle(self) -> HttpResponse:
        """Wait for the answer."""
        return self.complete(await self.waiting())

    def complete(self, answer: HttpResponse) -> HttpResponse:
        """Give an answer what the placeholder has gathered on its way."""
        for name, value in self.items():
            if name == "Vary":
                patch_vary_headers(answer, [part.strip() for part in value.split(",")])
            elif name not in ("Content-Type", "Content-Length"):
                answer.setdefault(name, value)
        for name, cookie in self.cookies.items():
            answer.cookies.setdefault(name, cookie)
        return self.finish(answer)

    def settle_here(self) -> HttpResponse:
        """Wait for the answer in this thread, where no event loop serves requests."""
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(SameThread())
            return runner.run(self.settle())


def iterate_here(chunks: AsyncIterator[T]) -> Iterator[T]:
    """Yield what an async iterator yields, in this thread, as `settle_here` waits."""

    async def step() -> T:
        return await anext(chunks)

    with asyncio.Runner() as runner, suppress(StopAsyncIteration):
        runner.get_loop().set_default_executor(SameThread())
        while True:
            yield runner.run(step())


class SameThread(ThreadPoolExecutor):
    """Runs what is sent to a thread in this one, which has the connection already."""

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        loop = asyncio.get_running_loop()
        # Django refuses queries in a thread that runs a loop, for they would stop it.
        # This loop runs for this call alone.
        _set_running_loop(None)
        try:
            done.set_result(call(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        finally:
            _set_running_loop(loop)
        return done
