"""The leader makes the running servers agree with the servers that are wanted.

The leader reads the few rows that need attention after each notification, and all
active servers at an interval. Each active server has a task of its own, see
`controller.server_reconciler`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog

from controller.call_handlers import answer
from controller.database import Database
from controller.leadership import Lost
from controller.server_reconciler import ServerReconciler
from controller.spawners.loading import Hosting
from controller.term import Task, Term
from database.backoff import Backoff
from database.notifications import Changes

log = structlog.get_logger("hub.controller")

# Seconds after which all active servers are read without any notification.
SAFETY = 5.0
# Least seconds between two reads, however much changes.
REST = 0.02
BEAT = 10.0
# Seconds that tasks have to end with the term.
GRACE = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Leader(Term):
    """A term of leadership, with the tasks that act in the term.

    `tasks` run beside the reconcilers of servers, see `controller.background_tasks`.
    """

    def __init__(
        self,
        epoch: int,
        facts: dict[str, Any],
        *,
        database: Database,
        hosting: Hosting,
        tasks: Sequence[Task] = (),
    ) -> None:
        super().__init__(epoch, facts, database=database, hosting=hosting)
        self._task_functions = tasks
        self._task_group: set[asyncio.Task[None]] = set()
        self._calls: set[int] = set()
        self._look_everywhere = asyncio.Event()

    # The term

    async def run(self) -> None:
        """Act until cancelled, or until `Lost` or `TooManyFailures`."""
        self._end = asyncio.get_running_loop().create_future()
        try:
            for function in self._task_functions:
                task = asyncio.ensure_future(self._keep_going(function))
                self._track(task, self._task_group)
            for work in (self._watch(), self._beat()):
                self._track(asyncio.ensure_future(self._guard(work)), self._tasks)
            await self._end
        finally:
            await self._leave()

    async def stop_all(self, seconds: float) -> int:
        """Request the stop of every server; return how many still run in the end."""
        count = await self.ask(self.records.stop_all)
        log.info("All servers are being stopped", servers=count)
        deadline = time.monotonic() + seconds
        async with Changes() as changes:
            while left := await self.ask(self.records.count_active):
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return left
                await changes.next(min(rest, 1.0))
        return 0

    async def _watch(self) -> None:
        """Read rows whenever they may have changed."""
        next_look = 0.0
        async with Changes() as changes:
            while True:
                now = time.monotonic()
                everywhere = self._look_everywhere.is_set() or now >= next_look
                if everywhere:
                    next_look = now + SAFETY
                    self._look_everywhere.clear()
                await self._look(everywhere)
                await asyncio.sleep(REST)
                if not self._look_everywhere.is_set():
                    await changes.next(max(0.0, next_look - time.monotonic()))

    async def _look(self, everywhere: bool) -> None:
        signs, calls = await self.ask(self.records.look, everywhere=everywhere)
        for sign in signs:
            reconciler = self.reconcilers.get(sign.id)
            if reconciler is None:
                reconciler = ServerReconciler(self, sign.id)
                self.reconcilers[sign.id] = reconciler
                task = asyncio.ensure_future(self._guard(self._keep(reconciler)))
                self._track(task, self._tasks)
            else:
                reconciler.notify(sign.generation, sign.announced_port)
        if everywhere:
            for server_id in self.reconcilers.keys() - {sign.id for sign in signs}:
                self.reconcilers[server_id].look_again()
        for call in set(calls) - self._calls:
            self._calls.add(call)
            self.spawn(self._handle(call))

    async def _keep(self, reconciler: ServerReconciler) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while True:
                try:
                    return await reconciler.run()
                except Lost:
                    raise
                except Exception:
                    log.exception("Keeping a server", server_id=reconciler.server_id)
                await backoff.sleep()
        finally:
            del self.reconcilers[reconciler.server_id]
            # A new generation may have come while the reconciler was ending.
            self._look_everywhere.set()

    async def _handle(self, call: int) -> None:
        try:
            await answer(self, call)
        finally:
            self._calls.discard(call)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await self.ask(self.records.beat)
            await self.ask(self.records.delete_old_calls)

    async def _keep_going(self, function: Task) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            try:
                await function(self)
                return
            except Lost as lost:
                self._give_up(lost)
                return
            except Exception:
                log.exception("A task failed", task=function.__module__)
            if time.monotonic() - began > LONGEST_PAUSE:
                backoff.reset()
            await backoff.sleep()

    async def _leave(self) -> None:
        """Cancel all tasks; servers keep running."""
        tasks = self._tasks | self._task_group
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE)
            for task in late:
                log.warning("A task does not end", task=str(task.get_coro()))
