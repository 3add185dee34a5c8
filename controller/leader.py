"""One term of leadership: making what is running equal what is wanted.

The controller looks at the few rows that need attention when something has changed,
and at all that are active from time to time. Each server that is active has a keeper
of its own; see `keeper`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import structlog
from django.conf import settings
from traitlets.config import Config

from controller.call_handlers import answer
from controller.database import Database
from controller.leadership import Lost
from controller.records import Records
from controller.server_reconciler import Keeper
from controller.spawners.failures import SpawnFailed
from controller.spawners.host import Host
from controller.spawners.spawn_context import ServerFacts
from controller.task_group import Background
from database.notifications import Changes

log = structlog.get_logger("hub.controller")

T = TypeVar("T")

# Seconds after which all active servers are looked at, though nothing was heard.
SAFETY = 5.0
# Seconds between two looks, however much changes.
REST = 0.02
BEAT = 10.0
# Servers of which is found out at the same time, after a takeover, if they run.
ADOPTIONS = 40
# Seconds that what runs in the background has to come to its end.
GRACE = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class TooManyFailures(Exception):
    """So many starts have failed in a row that a new process should try."""


class Hosting:
    """The class of the site's spawners, imported when it is first needed.

    It outlives terms: it knows no server.
    """

    def __init__(self) -> None:
        self._host: Host | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> Host:
        async with self._lock:
            if self._host is None:
                await asyncio.to_thread(_import_spawners, settings.HUB.spawner_class)
                # Spawners belong to the thread of the event loop.
                config = cast(Config, settings.HUB.raw)
                self._host = Host(config, settings.HUB.spawner_class)
        return self._host


def _import_spawners(spawner_class: str) -> None:
    """Do what takes longest of making a host, and may be done in a thread."""
    from controller.spawners import classes

    # It tells each of its plugins, of which none is of use here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A class that the configuration defines has no name to import it by.
    with suppress(classes.UnknownSpawner):
        classes.load(spawner_class)


class Controller:
    """What this process does while it leads; made for one term.

    `background` is what runs besides, see `controller.task_group`. Its
    tasks may append to the lists of callbacks, which are called on the event loop
    and must not block.
    """

    def __init__(
        self,
        epoch: int,
        facts: dict[str, Any],
        *,
        database: Database,
        hosting: Hosting,
        background: Sequence[Background] = (),
    ) -> None:
        self.epoch = epoch
        self.facts = facts
        self.records = Records(epoch)
        self.keepers: dict[int, Keeper] = {}
        self.adopting = asyncio.Semaphore(ADOPTIONS)
        self.failures_in_a_row = 0
        self.on_started: list[Callable[[ServerFacts, float], object]] = []
        self.on_failed: list[Callable[[ServerFacts, SpawnFailed, float], object]] = []
        self.on_stopped: list[Callable[[ServerFacts, float, str], object]] = []
        self.on_polled: list[Callable[[ServerFacts, float, int | None], object]] = []
        self.on_adopted: list[Callable[[ServerFacts], object]] = []
        self._database = database
        self._hosting = hosting
        self._background = background
        self._tasks: set[asyncio.Task[Any]] = set()
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._questions: set[int] = set()
        self._look_everywhere = asyncio.Event()
        self._end: asyncio.Future[None]

    # For keepers, and for what runs in the background

    async def ask(self, do: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Run a blocking function in a thread that has a connection."""
        return await self._database.run(do, *args, **keywords)

    async def write(self, do: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Run a function that writes, in one transaction and only as the leader."""
        return await self._database.run(self.records.write, do, *args, **keywords)

    async def host(self) -> Host:
        """Return what makes spawners."""
        return await self._hosting.get()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside; what goes wrong is logged."""
        self._track(asyncio.ensure_future(self._guard(work)), self._tasks)

    # What keepers report

    def has_started(self, facts: ServerFacts, seconds: float) -> None:
        self.failures_in_a_row = 0
        _call(self.on_started, facts, seconds)

    def has_failed(
        self, facts: ServerFacts, failure: SpawnFailed, seconds: float, limit: int
    ) -> None:
        _call(self.on_failed, facts, failure, seconds)
        if failure.refused:
            return
        self.failures_in_a_row += 1
        if limit and self.failures_in_a_row >= limit:
            self._give_up(
                TooManyFailures(f"{self.failures_in_a_row} starts in a row have failed")
            )

    def has_stopped(self, facts: ServerFacts, seconds: float, why: str) -> None:
        _call(self.on_stopped, facts, seconds, why)

    def has_polled(
        self, facts: ServerFacts, seconds: float, status: int | None
    ) -> None:
        _call(self.on_polled, facts, seconds, status)

    def has_adopted(self, facts: ServerFacts) -> None:
        _call(self.on_adopted, facts)

    # The term

    async def run(self) -> None:
        """Act until that is cancelled, or until `Lost` or `TooManyFailures`."""
        self._end = asyncio.get_running_loop().create_future()
        try:
            for background in self._background:
                task = asyncio.ensure_future(self._keep_going(background))
                self._track(task, self._background_tasks)
            for work in (self._watch(), self._beat()):
                self._track(asyncio.ensure_future(self._guard(work)), self._tasks)
            await self._end
        finally:
            await self._leave()

    async def stop_all(self, seconds: float) -> int:
        """Have every server stopped; return how many still are not, in the end."""
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
        """Look at rows whenever something may have changed."""
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
        signs, questions = await self.ask(self.records.look, everywhere=everywhere)
        for sign in signs:
            keeper = self.keepers.get(sign.id)
            if keeper is None:
                keeper = self.keepers[sign.id] = Keeper(self, sign.id)
                task = asyncio.ensure_future(self._guard(self._keep(keeper)))
                self._track(task, self._tasks)
            else:
                keeper.tell(sign.generation, sign.announced_port)
        if everywhere:
            for server_id in self.keepers.keys() - {sign.id for sign in signs}:
                self.keepers[server_id].look_again()
        for question in set(questions) - self._questions:
            self._questions.add(question)
            self.spawn(self._answer(question))

    async def _keep(self, keeper: Keeper) -> None:
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    return await keeper.run()
                except Lost:
                    raise
                except Exception:
                    log.exception("Keeping a server", server_id=keeper.server_id)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            del self.keepers[keeper.server_id]
            # A wish may have come when the keeper was as good as gone.
            self._look_everywhere.set()

    async def _answer(self, question: int) -> None:
        try:
            await answer(self, question)
        finally:
            self._questions.discard(question)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await self.ask(self.records.beat)
            await self.ask(self.records.forget_questions)

    # Tasks

    async def _guard(self, work: Awaitable[Any]) -> None:
        """Await something; what ends the term does so at once."""
        try:
            await work
        except Lost as lost:
            self._give_up(lost)
        except Exception as problem:
            log.exception("An error in the controller")
            self._give_up(Lost(f"an error: {problem}"))

    async def _keep_going(self, background: Background) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await background(self)
                return
            except Lost as lost:
                self._give_up(lost)
                return
            except Exception:
                log.exception("A task failed", task=background.__module__)
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _give_up(self, reason: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(reason)

    def _track(self, task: asyncio.Task[Any], tasks: set[asyncio.Task[Any]]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _leave(self) -> None:
        """Cancel everything; no server is touched by that."""
        tasks = self._tasks | self._background_tasks
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE)
            for task in late:
                log.warning("A task does not end", task=str(task.get_coro()))


def _call(callbacks: Sequence[Callable[..., object]], *args: Any) -> None:
    for callback in callbacks:
        try:
            callback(*args)
        except Exception:
            log.exception("A callback failed")
