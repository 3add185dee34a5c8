"""Threads for calls of a class, so that a call that blocks delays no other call.

JupyterHub calls all classes on its own event loop, and a class that waits for a
directory or computes a hash there stops the whole JupyterHub. Many classes do so. So
each call has a *lane* of its own here: a thread with an event loop and an instance of
the class, which no other call uses until the call returns. A call takes the first free
lane, so as long as calls do not overlap, all use the same instance. Objects of an
instance that belong to an event loop, such as HTTP clients, stay with their loop.

Lanes are made when they are needed. One that never becomes free costs a thread; when
`MOST` are in use, further calls are refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from accounts.hosting.process.application import Hosted, repeated

MOST = 128
# Seconds until any call is given up, longer than the hub waits for one. So a class that
# awaits in vain costs no lane for good, as one that blocks does.
PATIENCE = 330.0


class TooManyCalls(Exception):
    """All lanes are in use, by calls that have not returned."""


class Lane:
    """A thread with an event loop, and with an instance of the class."""

    def __init__(self, number: int, make: Callable[[], Hosted]) -> None:
        self.number = number
        self.make = make
        self.hosted: Hosted | None = None
        self.loop = asyncio.new_event_loop()
        threading.Thread(
            target=self.loop.run_forever, name=f"lane-{number}", daemon=True
        ).start()

    async def work(self, call: Callable[[Hosted], Awaitable[Any]]) -> Any:
        if self.hosted is None:
            repeated.thread.is_repeating = self.number > 0
            try:
                self.hosted = self.make()
            finally:
                repeated.thread.is_repeating = False
        async with asyncio.timeout(PATIENCE):
            return await call(self.hosted)


class Lanes:
    """All lanes of the process, used from the event loop of the server."""

    def __init__(self, make: Callable[[], Hosted], most: int = MOST) -> None:
        self.make, self.most = make, most
        self.all: list[Lane] = []
        self.free: list[Lane] = []

    async def run(self, call: Callable[[Hosted], Awaitable[Any]]) -> Any:
        """Run a call in the first free lane, and return its result."""
        loop = asyncio.get_running_loop()
        lane = self.take()
        future = asyncio.run_coroutine_threadsafe(lane.work(call), lane.loop)
        future.add_done_callback(lambda _: self.give_back(lane, loop))
        return await asyncio.wrap_future(future)

    def take(self) -> Lane:
        if self.free:
            self.free.sort(key=lambda lane: lane.number)
            return self.free.pop(0)
        if len(self.all) >= self.most:
            raise TooManyCalls
        lane = Lane(len(self.all), self.make)
        self.all.append(lane)
        return lane

    def give_back(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self.free.append, lane)
