"""Waiting for a server's state on an event loop, without a thread or connection.

All waiters of one loop share one read: after a notification, the rows of all servers
with waiters are read in one query, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, InterfaceError, connection

from database.notifications import Changes
from servers.models import Server, ServerEvent

logger = logging.getLogger(__name__)

# Seconds after which rows are read without a notification.
LOOK_ANYWAY = 1.0
# Least seconds between two reads, however much changes. With many waiters there are
# fewer reads, because reading takes time from all requests.
REST = 0.02
REST_PER_WAITER = 0.0005
# Seconds until the next try after an error of the database.
PAUSE = 1.0

# The id of each event, its generation, and its data.
Events = list[tuple[int, int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class RowState:
    """The columns of one server's row at one read."""

    generation: int
    settled: int
    pending: str | None
    ready: bool
    failure: str

    def has_settled(self, generation: int) -> bool:
        """Return whether a generation is settled; one being verified is not."""
        return self.settled >= generation and self.pending is None


@dataclass(eq=False, slots=True)
class Waiter:
    """A waiter for one server, with the latest columns.

    `seen` is None before the first read, and when the row is deleted. Events are kept
    for waiters that want them, until they are read.
    """

    server_id: int
    wants_events: bool = False
    last_event: int = 0
    seen: RowState | None = None
    looked: bool = False
    events: Events = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self, sight: RowState | None, events: Events) -> None:
        if self.looked and sight == self.seen and not events:
            return
        self.seen, self.looked = sight, True
        if events:
            self.events += events
            self.last_event = events[-1][0]
        self.changed.set()

    async def next(self, timeout: float) -> bool:
        """Return True at the next change, or False if there is none in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.changed.wait()
        changed = self.changed.is_set()
        self.changed.clear()
        return changed


class SharedReader:
    """Reads rows for all waiters of one event loop."""

    def __init__(self) -> None:
        self.waiters: set[Waiter] = set()
        self.due = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @classmethod
    def of_this_loop(cls) -> SharedReader:
        return READERS.setdefault(asyncio.get_running_loop(), cls())

    def add(self, waiter: Waiter) -> None:
        self.waiters.add(waiter)
        self.due.set()
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.watch(), name="reader")

    def remove(self, waiter: Waiter) -> None:
        self.waiters.discard(waiter)
        # Wakes the task, which ends when there is no waiter left.
        self.due.set()

    async def watch(self) -> None:
        async with Changes() as changes:
            listening = asyncio.create_task(self.listen(changes), name="reader-listens")
            try:
                while self.waiters:
                    self.due.clear()
                    await self.look()
                    await asyncio.sleep(REST + REST_PER_WAITER * len(self.waiters))
                    await self.due.wait()
            finally:
                listening.cancel()

    async def listen(self, changes: Changes) -> None:
        while True:
            await changes.next(LOOK_ANYWAY)
            self.due.set()

    async def look(self) -> None:
        waiters = tuple(self.waiters)
        followers = [waiter for waiter in waiters if waiter.wants_events]
        try:
            sights, events = await asyncio.to_thread(
                read_rows,
                {waiter.server_id for waiter in waiters},
                {waiter.server_id for waiter in followers},
                min((waiter.last_event for waiter in followers), default=0),
            )
        except Exception:
            # All waiters depend on the next read.
            logger.warning("Rows of servers can't be read; trying again", exc_info=True)
            await asyncio.sleep(PAUSE)
            self.due.set()
            return
        for waiter in waiters:
            new: Events = []
            if waiter.wants_events:
                found = events.get(waiter.server_id, ())
                new = [each for each in found if each[0] > waiter.last_event]
            waiter.notify(sights.get(waiter.server_id), new)


READERS: WeakKeyDictionary[asyncio.AbstractEventLoop, SharedReader] = (
    WeakKeyDictionary()
)


def read_rows(
    ids: Collection[int], followed: Collection[int], last_event: int
) -> tuple[dict[int, RowState], dict[int, Events]]:
    """Read the rows of some servers, and the events of some after a certain one."""
    try:
        rows = Server.objects.filter(pk__in=ids).order_by()
        sights = {
            pk: RowState(*rest)
            for pk, *rest in rows.values_list(
                *("pk", "generation", "settled", "pending", "ready", "failure")
            )
        }
        # Events are read after rows, so that a settled row comes with its last event.
        events = read_events(followed, last_event) if followed else {}
    except (DatabaseError, InterfaceError):
        # A broken connection must not be used again. Requests ensure that elsewhere,
        # but this thread may serve none.
        connection.close_if_unusable_or_obsolete()
        raise
    return sights, events


def read_events(servers: Collection[int], last_event: int) -> dict[int, Events]:
    """Return the events of some servers, in order, that came after a certain one."""
    found: dict[int, Events] = {}
    events = ServerEvent.objects.filter(server__in=servers, id__gt=last_event)
    columns = ("server", "id", "generation", "data")
    for server, *event in events.order_by("id").values_list(*columns):
        found.setdefault(server, []).append(tuple(event))
    return found


@asynccontextmanager
async def waiting_for(
    server_id: int, *, wants_events: bool = False
) -> AsyncIterator[Waiter]:
    """Add a waiter for a server while the context is open."""
    reader, waiter = SharedReader.of_this_loop(), Waiter(server_id, wants_events)
    reader.add(waiter)
    try:
        yield waiter
    finally:
        reader.remove(waiter)


async def until_settled(
    server_id: int, generation: int, seconds: float
) -> Server | None:
    """Return a server once a generation is settled or replaced, or time is up.

    The row shows the result: a start is over if it is `ready` or has no `pending`. None
    means that the row is deleted, which ends a removal.
    """
    deadline = time.monotonic() + seconds
    async with waiting_for(server_id) as waiter:
        while (left := deadline - time.monotonic()) > 0:
            if not await waiter.next(left):
                break
            if (
                waiter.seen is None
                or waiter.seen.has_settled(generation)
                or waiter.seen.generation > generation
            ):
                break
    return await asyncio.to_thread(find, server_id)


def find(server_id: int) -> Server | None:
    return Server.objects.select_related("user").filter(pk=server_id).first()
