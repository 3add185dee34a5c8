"""A fixed pool of threads that call functions for an event loop, in fair order.

The number of threads of each caller is limited, and its further calls wait in a queue
of their own, so that a busy program does not block other callers.

A change of threads takes more CPU time than a small request. So a thread whose call has
ended takes the next one of the same caller, unless others wait for a thread. The loop
is woken once for all available results, while `loop.run_in_executor` wakes it for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
Job = Callable[[], None]


class Line:
    """The calls of one caller: the number with a thread, and those that wait."""

    __slots__ = ("active", "waiting")

    def __init__(self) -> None:
        self.active = 0
        self.waiting: deque[Job] = deque()


class FairThreads:
    """A pool of `count` threads, of which a caller has at most `most` at once.

    `executor` runs other calls in the same threads.
    """

    def __init__(self, count: int, most: int, name: str) -> None:
        self.executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self.most = most
        self.lock = Lock()
        self.lines: dict[str, Line] = {}
        # The number of jobs of the executor without a thread.
        self.queued = 0
        self.results: Results | None = None

    async def run(self, caller: str, call: Callable[..., T], *args: Any) -> T:
        """Call a function in a thread, when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        if self.results is None or self.results.loop is not loop:
            self.results = Results(loop)
        future: asyncio.Future[T] = loop.create_future()
        job = partial(settle, self.results, future, call, args)
        with self.lock:
            line = self.lines.get(caller)
            if line is None:
                line = self.lines[caller] = Line()
            if line.active == self.most:
                line.waiting.append(job)
            else:
                line.active += 1
                self.submit(caller, line, job)
        return await future

    def submit(self, caller: str, line: Line, job: Job) -> None:
        self.queued += 1
        self.executor.submit(self.work, caller, line, job)

    def work(self, caller: str, line: Line, job: Job) -> None:
        """Run a caller's calls in this thread, until another caller needs a thread."""
        with self.lock:
            self.queued -= 1
        while True:
            job()
            with self.lock:
                if not line.waiting:
                    line.active -= 1
                    if not line.active:
                        del self.lines[caller]
                    return
                job = line.waiting.popleft()
                if self.queued:
                    self.submit(caller, line, job)
                    return


class Results:
    """Results of threads on their way to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ready: deque[tuple[asyncio.Future[Any], Job]] = deque()
        self.is_awake = False

    def add(self, future: asyncio.Future[Any], finish: Job) -> None:
        """Let the loop finish a future; called in a thread."""
        self.ready.append((future, finish))
        # Two threads may both wake the loop up, but no result is missed, because the
        # loop clears the mark before it looks for results.
        if not self.is_awake:
            self.is_awake = True
            # If the loop is closed, the results are no longer needed.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.hand_over)

    def hand_over(self) -> None:
        self.is_awake = False
        while self.ready:
            future, finish = self.ready.popleft()
            if not future.cancelled():
                finish()


def settle(
    results: Results,
    future: asyncio.Future[T],
    call: Callable[..., T],
    args: tuple[Any, ...],
) -> None:
    """Call a function in this thread, unless its future is cancelled."""
    if future.cancelled():
        return
    try:
        finish: Job = partial(future.set_result, call(*args))
    except BaseException as error:
        finish = partial(future.set_exception, error)
    results.add(future, finish)
