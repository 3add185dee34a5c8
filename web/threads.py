"""A pool of threads that call functions for an event loop, in fair order.

Threads that compute at the same time wake and interrupt each other for the
interpreter's lock, which takes more CPU time than a small request. So only a few calls
run at a time, usually one. A call that has not returned after `PATIENCE` seconds
probably waits for something, and the next call begins in another thread.

Callers take turns, and the number of threads of each caller is limited, so that a busy
program does not block other callers.

The loop is woken up once for many results: when no call is left, or after `PATIENCE`
seconds. `loop.run_in_executor` wakes it up for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Condition
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")
Job = Callable[[], None]

# Seconds after which a call counts as slow, and a result is handed over.
PATIENCE = 0.002
# Seconds that a thread waits for another call, because a new start costs more.
LINGER = 0.05


class Line:
    """The calls of one caller: the number with a thread, and those that wait."""

    __slots__ = ("active", "caller", "is_ready", "waiting")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.active = 0
        self.waiting: deque[Job] = deque()
        # Whether the line is among those whose turn comes.
        self.is_ready = False


class Worker:
    """The work of one thread; `since` is the time when its call began, or 0."""

    __slots__ = ("is_slow", "since")

    def __init__(self) -> None:
        self.since = 0.0
        self.is_slow = False


class FairThreads:
    """A pool of `count` threads, of which a caller has at most `most` at once.

    At most `at_once` calls run at a time, not counting slow ones. `executor` runs other
    calls in the same threads.
    """

    def __init__(self, count: int, most: int, name: str, at_once: int = 1) -> None:
        self.executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self.most = most
        self.at_once = at_once
        # Guards all that follows, and wakes threads that wait for a call.
        self.changed = Condition()
        self.lines: dict[str, Line] = {}
        self.ready: deque[Line] = deque()
        self.workers: set[Worker] = set()
        # Workers whose call is not slow, and those of them without a call.
        self.quick = 0
        self.idle = 0
        self.loop: asyncio.AbstractEventLoop | None = None

    async def run(self, caller: str, call: Callable[..., T], *args: Any) -> T:
        """Call a function in a thread, when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop = loop
            self.results = Results(loop)
            self.is_due = self.is_watched = False
        future: asyncio.Future[T] = loop.create_future()
        with self.changed:
            line = self.lines.setdefault(caller, Line(caller))
            line.waiting.append(partial(settle, self.results, future, call, args))
            self.offer(line)
        # The threads begin when the loop has read all requests that have arrived.
        if not self.is_due:
            self.is_due = True
            loop.call_soon(self.begin)
        return await future

    def offer(self, line: Line) -> None:
        """Give a caller a turn if it has a call and a thread left."""
        if line.waiting and line.active < self.most and not line.is_ready:
            line.is_ready = True
            self.ready.append(line)

    def begin(self) -> None:
        """Wake or start a thread for calls that wait; called in the loop."""
        self.is_due = False
        with self.changed:
            self.changed.notify(len(self.ready))
            missing = len(self.ready) - self.idle
            for _ in range(min(missing, self.at_once - self.quick)):
                self.quick += 1
                self.executor.submit(self.work)
            is_busy = bool(self.ready) or self.quick > self.idle
        if is_busy and not self.is_watched:
            self.is_watched = True
            self.results.loop.call_later(PATIENCE, self.watch)

    def watch(self) -> None:
        """Find slow calls and let others begin; called in the loop."""
        self.is_watched = False
        self.results.hand_over()
        latest = monotonic() - PATIENCE
        with self.changed:
            for worker in self.workers:
                if not worker.is_slow and 0 < worker.since < latest:
                    worker.is_slow = True
                    self.quick -= 1
        self.begin()

    def work(self) -> None:
        """Run calls in this thread, until there was none for a moment."""
        worker = Worker()
        with self.changed:
            self.workers.add(worker)
        while (turn := self.next_turn(worker)) is not None:
            line, job = turn
            job()
            self.end_turn(line, worker)
            if worker.is_slow or not self.ready:
                self.results.announce()

    def next_turn(self, worker: Worker) -> tuple[Line, Job] | None:
        """Wait for the next call; None if this thread is no longer needed."""
        with self.changed:
            if worker.is_slow and self.quick < self.at_once:
                worker.is_slow = False
                self.quick += 1
            if not worker.is_slow:
                self.idle += 1
                self.changed.wait_for(lambda: self.ready, LINGER)
                self.idle -= 1
                if self.ready:
                    line = self.ready.popleft()
                    line.is_ready = False
                    line.active += 1
                    job = line.waiting.popleft()
                    self.offer(line)
                    worker.since = monotonic()
                    return line, job
                self.quick -= 1
            self.workers.discard(worker)
            # If this call was the caller's last one allowed, another may begin now.
            self.changed.notify()
            return None

    def end_turn(self, line: Line, worker: Worker) -> None:
        with self.changed:
            worker.since = 0.0
            line.active -= 1
            self.offer(line)
            if not line.active and not line.waiting:
                del self.lines[line.caller]


class Results:
    """Results of threads on their way to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ready: deque[tuple[asyncio.Future[Any], Job]] = deque()
        self.is_announced = False

    def announce(self) -> None:
        """Wake the loop up for the results; called in a thread."""
        # Two threads may both wake the loop up, but no result is missed, because the
        # loop clears the mark before it looks for results.
        if self.ready and not self.is_announced:
            self.is_announced = True
            # If the loop is closed, the results are no longer needed.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.hand_over)

    def hand_over(self) -> None:
        self.is_announced = False
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
    results.ready.append((future, finish))
