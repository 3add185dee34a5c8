"""Threads for calls of a class, so that a call that blocks delays no other call.

JupyterHub calls all classes on its own event loop, and a class that waits for a
directory or computes a hash there stops the whole JupyterHub. Many classes do so. So
each call has a *lane* of its own here: a thread with an event loop and an instance of
the class, which no other call uses until the call returns. A call takes the first free
lane, so as long as calls do not overlap, all use the same instance. Objects of an
instance that belong to an event loop, such as HTTP clients, stay with their loop.

Lanes are made when they are needed; when `MOST` are in use, further calls are refused.

A class that blocks for ever keeps its thread, which nothing can end. Once nobody waits
for the call any more, its lane is *lost*: it does not count as used, and others are
made in its place. With `MOST_LOST` of them, the process ends and is started again, as
soon as no other call is under way; with `TOO_MANY_LOST` it does not wait for that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from accounts.hosting.process.application import Hosted, repeated

log = logging.getLogger("hub.authenticator")

MOST: Final = 128
MOST_LOST: Final = 64
TOO_MANY_LOST: Final = 256
# Seconds until a call is given up, longer than the hub waits for one: for a single
# person, and for many accounts. So a class that awaits in vain costs no lane for good.
PATIENCE = 65.0
LONG_PATIENCE = 330.0
# Seconds after that until a call that has not returned is taken for lost.
GRACE = 10.0


class TooManyCalls(Exception):
    """All lanes are in use, by calls that have not returned."""


class Lane:
    """A thread with an event loop, and with an instance of the class."""

    def __init__(self, number: int, make: Callable[[], Hosted]) -> None:
        self.number = number
        self.make = make
        self.hosted: Hosted | None = None
        # When the lane is lost, unless its call returns before.
        self.lost_at = float("inf")
        self.loop = asyncio.new_event_loop()
        threading.Thread(
            target=self.run_loop, name=f"lane-{number}", daemon=True
        ).start()

    def run_loop(self) -> None:
        while True:
            try:
                self.loop.run_forever()
            except SystemExit:
                log.exception("the class has tried to end its process")
            else:
                return

    @property
    def is_lost(self) -> bool:
        return time.monotonic() > self.lost_at

    async def work(
        self, call: Callable[[Hosted], Awaitable[Any]], patience: float
    ) -> Any:
        try:
            return await self.answer(call, patience)
        except SystemExit as problem:
            # Otherwise it would end the server's loop, too.
            raise RuntimeError(f"the class has ended its process: {problem}") from None

    async def answer(
        self, call: Callable[[Hosted], Awaitable[Any]], patience: float
    ) -> Any:
        if self.hosted is None:
            repeated.thread.is_repeating = self.number > 0
            try:
                self.hosted = self.make()
            finally:
                repeated.thread.is_repeating = False
        async with asyncio.timeout(patience):
            return await call(self.hosted)


class Lanes:
    """All lanes of the process, used from the event loop of the server."""

    def __init__(self, make: Callable[[], Hosted], most: int = MOST) -> None:
        self.make, self.most = make, most
        self.all: list[Lane] = []
        self.free: list[Lane] = []

    @property
    def busy(self) -> list[Lane]:
        """Lanes with a call for whose result somebody may wait."""
        return [each for each in self.all if each not in self.free and not each.is_lost]

    @property
    def lost(self) -> list[Lane]:
        return [each for each in self.all if each.is_lost]

    @property
    def are_spent(self) -> bool:
        """Whether the process has to be started again now, because lanes are lost."""
        lost = len(self.lost)
        return lost >= TOO_MANY_LOST or (lost >= MOST_LOST and not self.busy)

    async def run(
        self, call: Callable[[Hosted], Awaitable[Any]], *, is_long: bool = False
    ) -> Any:
        """Run a call in the first free lane, and return its result."""
        loop = asyncio.get_running_loop()
        lane = self.take()
        patience = LONG_PATIENCE if is_long else PATIENCE
        lane.lost_at = time.monotonic() + patience + GRACE
        future = asyncio.run_coroutine_threadsafe(lane.work(call, patience), lane.loop)
        future.add_done_callback(lambda _: self.give_back(lane, loop))
        return await asyncio.wrap_future(future)

    def take(self) -> Lane:
        if self.free:
            self.free.sort(key=lambda lane: lane.number)
            return self.free.pop(0)
        if len(self.all) - len(self.lost) >= self.most:
            raise TooManyCalls
        lane = Lane(len(self.all), self.make)
        self.all.append(lane)
        return lane

    def give_back(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        def free() -> None:
            lane.lost_at = float("inf")
            self.free.append(lane)

        loop.call_soon_threadsafe(free)
