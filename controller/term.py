"""One term of leadership, as the tasks of the leading controller use it.

A controller leads for a term, which has a number, the epoch. `controller.leader` makes
the term and runs its tasks; the tasks import this module only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from accounts import auth_state
from controller.database import Database
from controller.leadership import Lost
from controller.records import Records
from controller.spawners.failures import SpawnFailed
from controller.spawners.hosted_spawner import Host
from controller.spawners.loading import Hosting
from controller.spawners.spawn_context import SpawnContext

log = structlog.get_logger("hub.controller")

T = TypeVar("T")

# Servers that are polled at the same time after a takeover.
ADOPTIONS = 40


class TooManyFailures(Exception):
    """So many starts have failed in a row that a new process should try."""


class Reconciler(Protocol):
    """The task of one server, see `controller.server_reconciler`."""

    server_id: int

    async def is_alive(self) -> bool: ...

    def notify(self, generation: int, announced_port: int | None = None) -> None: ...

    def look_again(self) -> None: ...


class AuthStates:
    """Reads and saves the auth state of users, for hooks of spawners."""

    def __init__(self, term: Term) -> None:
        self.term = term

    async def read(self, user_id: int, name: str) -> dict[str, Any] | None:
        return await self.term.ask(auth_state.read, user_id, name)

    async def save(self, user_id: int, value: dict[str, Any] | None) -> None:
        await self.term.write(auth_state.save, user_id, value)


class Preparation:
    """Tells whose accounts the authenticator class has prepared since the start."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        # The calls for all go by the ids of users; `early` are those before their turn.
        self.reached = 0
        self.early: set[int] = set()
        self.is_done = False

    def has(self, user_id: int) -> bool:
        return self.is_done or user_id <= self.reached or user_id in self.early


class Term:
    """The database, the spawners and the reports of one term of leadership.

    Tasks may append to the lists of callbacks. Callbacks run on the event loop and
    must not block.
    """

    def __init__(
        self,
        epoch: int,
        facts: dict[str, Any],
        *,
        database: Database,
        hosting: Hosting,
    ) -> None:
        self.epoch = epoch
        self.facts = facts
        self.records = Records(epoch)
        self.keeper = AuthStates(self)
        self.preparation = Preparation()
        self.reconcilers: dict[int, Reconciler] = {}
        self.adopting = asyncio.Semaphore(ADOPTIONS)
        self.failures_in_a_row = 0
        self.on_started: list[Callable[[SpawnContext, float], object]] = []
        self.on_failed: list[Callable[[SpawnContext, SpawnFailed, float], object]] = []
        self.on_stopped: list[Callable[[SpawnContext, float, str], object]] = []
        self.on_polled: list[Callable[[SpawnContext, float, int | None], object]] = []
        self._database = database
        self._hosting = hosting
        self._tasks: set[asyncio.Task[Any]] = set()
        self._end: asyncio.Future[None]

    # For the tasks of this term

    async def ask(self, do: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Run a blocking function in a thread that has a connection."""
        return await self._database.run(do, *args, **keywords)

    async def write(self, do: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Run a function that writes, in one transaction and only as the leader."""
        return await self._database.run(self.records.write, do, *args, **keywords)

    async def host(self) -> Host:
        """Return the maker of spawners, imported at its first use."""
        return await self._hosting.get()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run work in a task; an error is logged and ends the term."""
        self._track(asyncio.ensure_future(self._guard(work)), self._tasks)

    # Reports of server reconcilers

    def has_started(self, context: SpawnContext, seconds: float) -> None:
        self.failures_in_a_row = 0
        _call(self.on_started, context, seconds)

    def has_failed(
        self, context: SpawnContext, failure: SpawnFailed, seconds: float, limit: int
    ) -> None:
        _call(self.on_failed, context, failure, seconds)
        if failure.refused:
            return
        self.failures_in_a_row += 1
        if limit and self.failures_in_a_row >= limit:
            self._give_up(
                TooManyFailures(f"{self.failures_in_a_row} starts in a row have failed")
            )

    def has_stopped(self, context: SpawnContext, seconds: float, why: str) -> None:
        _call(self.on_stopped, context, seconds, why)

    def has_polled(
        self, context: SpawnContext, seconds: float, status: int | None
    ) -> None:
        _call(self.on_polled, context, seconds, status)

    # Tasks

    async def _guard(self, work: Awaitable[Any]) -> None:
        """Await something; an error that ends the term does so at once."""
        try:
            await work
        except Lost as lost:
            self._give_up(lost)
        except Exception as problem:
            log.exception("An error in the controller")
            self._give_up(Lost(f"an error: {problem}"))

    def _give_up(self, reason: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(reason)

    def _track(self, task: asyncio.Task[Any], tasks: set[asyncio.Task[Any]]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _call(callbacks: Sequence[Callable[..., object]], *args: Any) -> None:
    for callback in callbacks:
        try:
            callback(*args)
        except Exception:
            log.exception("A callback failed")


Task = Callable[[Term], Awaitable[None]]
