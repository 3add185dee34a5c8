"""The controller as a process: standing by, leading, and standing by again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings

from servers.controller.background import Background
from servers.controller.database import Database, notice_broken_connections
from servers.controller.leadership import Lost, new_lock
from servers.controller.reconciler import Controller, Hosting, TooManyFailures
from servers.controller.records import take_over

log = structlog.get_logger("hub.controller")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
# A term that lasted so long had begun well.
WELL = 30.0
# Seconds that all servers together may take to stop when the hub ends with them.
STOP_ALL = 60.0


def serve(background: Sequence[Background] = ()) -> int:
    """Lead, or stand by, until a signal ends this process; return its status.

    SIGTERM and SIGINT leave servers running for the next controller, SIGUSR1 stops
    them first.
    """
    notice_broken_connections()
    return asyncio.run(Process(background).run())


class Process:
    """What outlives the terms of leadership."""

    def __init__(self, background: Sequence[Background]) -> None:
        self.background = background
        self.database = Database()
        self.hosting = Hosting()
        self.asked_to_end = asyncio.Event()
        self.asked_to_stop_servers = False
        self.facts: dict[str, Any] = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "spawner": settings.HUB.spawner_class,
            "version": settings.HUB_VERSION,
        }

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        # Also because a process that was started in the background may have been
        # told to ignore SIGINT, and all servers would inherit that.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(number, self._ask_to_end, number)
        pause = FIRST_PAUSE
        while not self.asked_to_end.is_set():
            began = time.monotonic()
            try:
                if await self._or_end(self._lead()):
                    return 0
            except Lost as lost:
                if time.monotonic() - began > WELL:
                    pause = FIRST_PAUSE
                log.warning("Not leading", reason=str(lost), next_try=f"in {pause:g} s")
                await self._or_end(asyncio.sleep(pause))
                pause = min(pause * 2, LONGEST_PAUSE)
            except TooManyFailures as failures:
                log.critical("The controller ends", reason=str(failures))
                return 1
        return 0

    def _ask_to_end(self, number: int) -> None:
        self.asked_to_stop_servers |= number == signal.SIGUSR1
        self.asked_to_end.set()

    async def _or_end(self, work: Any) -> bool:
        """Await something; True if that was cancelled since this process shall end."""
        working = asyncio.ensure_future(work)
        asking = asyncio.ensure_future(self.asked_to_end.wait())
        await asyncio.wait({working, asking}, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        if working.done():
            working.result()
            return False
        working.cancel()
        await asyncio.wait({working})
        return True

    async def _lead(self) -> None:
        """Stand by until this process leads, and act until it does not."""
        lock = new_lock()
        log.info("Standing by")
        try:
            await lock.acquire()
            holder = f"{self.facts['host']}:{self.facts['pid']}"
            epoch = await self.database.run(take_over, holder, self.facts)
            log.info("Leading", epoch=epoch)
            await self._act(epoch, lock.watch())
        finally:
            await lock.release()

    async def _act(self, epoch: int, watching: Any) -> None:
        controller = Controller(
            epoch,
            self.facts,
            database=self.database,
            hosting=self.hosting,
            background=self.background,
        )
        acting = asyncio.ensure_future(controller.run())
        guarding = asyncio.ensure_future(watching)
        try:
            await asyncio.wait({acting, guarding}, return_when=asyncio.FIRST_COMPLETED)
            if guarding.done():
                guarding.result()
            await acting
        except asyncio.CancelledError:
            if self.asked_to_stop_servers:
                stopping = asyncio.ensure_future(self._stop_servers(controller))
                await asyncio.wait(
                    {stopping, acting, guarding}, return_when=asyncio.FIRST_COMPLETED
                )
                stopping.cancel()
            raise
        finally:
            for task in (acting, guarding):
                task.cancel()
            await asyncio.wait({acting, guarding})

    async def _stop_servers(self, controller: Controller) -> None:
        try:
            left = await controller.stop_all(STOP_ALL)
        except Lost as lost:
            log.error("Servers can't be stopped", reason=str(lost))
            return
        if left:
            log.error("Servers could not be stopped in time", servers=left)
