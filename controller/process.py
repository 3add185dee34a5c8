"""The controller's process: stands by, leads, and stands by again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings

from controller.database import Database, notice_broken_connections
from controller.leader import Leader
from controller.leadership import Lock, Lost, new_lock
from controller.records import take_over
from controller.spawners.loading import Hosting
from controller.term import Task, TooManyFailures
from database.backoff import Backoff

log = structlog.get_logger("hub.controller")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
# Seconds after which the start of a term counts as successful.
WELL = 30.0
# Seconds that all servers together may take to stop when the hub ends with them.
STOP_ALL = 60.0
# Seconds of retries for the lock of a controller that has just ended.
LAST_TRY = 3.0


def serve(tasks: Sequence[Task] = ()) -> int:
    """Lead, or stand by, until a signal ends this process; return its status.

    SIGTERM and SIGINT leave servers running for the next controller, SIGUSR1 stops
    them first.
    """
    notice_broken_connections()
    return asyncio.run(Process(tasks).run())


class Process:
    """The state that outlives the terms of leadership."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.database = Database()
        self.hosting = Hosting()
        self.ending = asyncio.Event()
        self.leaving = asyncio.Event()
        self.stops_servers = False
        self.facts: dict[str, Any] = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "spawner": settings.HUB.spawner_class,
            "version": settings.JUPYTERHUB_VERSION,
        }

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        # Set explicitly, because a process that was started in the background may
        # ignore SIGINT, and all servers would inherit that.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(number, self._on_signal, number)
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            try:
                await self._lead()
                return 0
            except Lost as lost:
                if time.monotonic() - began > WELL:
                    backoff.reset()
                log.warning(
                    "Not leading",
                    reason=str(lost),
                    next_try=f"in {backoff.pause:g} s",
                )
            except TooManyFailures as failures:
                log.critical("The controller ends", reason=str(failures))
                return 1
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.pause):
                    await self.ending.wait()
                    if not self.stops_servers:
                        return 0
                    await self.leaving.wait()
                    return 0
            backoff.grow()

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self.stops_servers = True
        else:
            # A second signal also ends the wait for servers.
            self.leaving.set()
        self.ending.set()

    async def _lead(self) -> None:
        """Stand by and lead; return when this process shall end."""
        lock = new_lock()
        try:
            if not await self._acquire(lock):
                return
            self.database.renew()
            holder = f"{self.facts['host']}:{self.facts['pid']}"
            epoch = await self.database.run(take_over, holder, self.facts)
            log.info("Leading", epoch=epoch)
            await self._act(epoch, lock)
        finally:
            await lock.release()

    async def _acquire(self, lock: Lock) -> bool:
        """Wait for the lock; return False if this process shall end instead.

        A process that shall stop servers must lead to do so. If another controller
        leads, the servers keep running.
        """
        log.info("Standing by")
        getting = asyncio.ensure_future(lock.acquire())
        ending = asyncio.ensure_future(self.ending.wait())
        try:
            await asyncio.wait({getting, ending}, return_when=FIRST_COMPLETED)
            if not getting.done() and self.stops_servers:
                await asyncio.wait({getting}, timeout=LAST_TRY)
            if not getting.done() or self.leaving.is_set():
                return False
            getting.result()
            return True
        finally:
            await _end(getting, ending)

    async def _act(self, epoch: int, lock: Lock) -> None:
        leader = Leader(
            epoch,
            self.facts,
            database=self.database,
            hosting=self.hosting,
            tasks=self.tasks,
        )
        acting = asyncio.ensure_future(leader.run())
        guarding = asyncio.ensure_future(lock.watch())
        ending = asyncio.ensure_future(self.ending.wait())
        leaving = asyncio.ensure_future(self.leaving.wait())
        stopping = None
        try:
            done, _ = await asyncio.wait(
                {acting, guarding, ending}, return_when=FIRST_COMPLETED
            )
            if self.stops_servers and done == {ending}:
                stopping = asyncio.ensure_future(self._stop_servers(leader))
                await asyncio.wait(
                    {acting, guarding, stopping, leaving}, return_when=FIRST_COMPLETED
                )
            for task in (guarding, acting):
                if task.done():
                    task.result()
        finally:
            await _end(acting, guarding, ending, leaving, stopping)

    async def _stop_servers(self, leader: Leader) -> None:
        left = await leader.stop_all(STOP_ALL)
        if left:
            log.error("Servers could not be stopped in time", servers=left)


async def _end(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel tasks and wait for their end, ignoring their errors."""
    present = [task for task in tasks if task is not None]
    for task in present:
        task.cancel()
    await asyncio.gather(*present, return_exceptions=True)
