"""Notifications between processes that servers may have changed.

A notification contains no data and only makes reads come sooner: every waiter reads the
rows again, and also reads at an interval without any notification.

SQLite counts its commits, and `PRAGMA data_version` reads that count without
touching a table; PostgreSQL passes notifications on between its connections.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import connection, connections

from database.backoff import Backoff

if TYPE_CHECKING:
    from asyncinotify import Inotify

logger = logging.getLogger(__name__)

CHANNEL = "hub_changes"
# Seconds between two reads of SQLite's count, which take a few microseconds each.
INTERVAL = 0.05
# Seconds between two looks where the kernel reports writes to the database's files, and
# none was reported for a while.
QUIET_INTERVAL = 1.0
# Seconds after a write during which the count may still change: the file is written
# first, then the index that the count is read from.
COMMIT_TIME = 0.5
FIRST_LOOK = 0.002
# A connection to PostgreSQL costs more to open than to keep for a while.
LINGER = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


def announce() -> None:
    """Notify all waiters, once the current transaction is committed.

    SQLite's commits are noticed without this.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


def is_in_memory() -> bool:
    """Return whether the database is an in-memory one of SQLite, for tests."""
    name = str(connections.settings["default"]["NAME"])
    return name == ":memory:" or "mode=memory" in name


class Changes:
    """The changes since the last look of one waiter; enter it before the first read.

        async with Changes() as changes:
            while not (row := await look()).is_settled:
                await changes.next(timeout)

    All waiters of an event loop share one watcher, which pauses without waiters.
    """

    def __init__(self) -> None:
        self._watcher: Watcher
        self._seen = 0

    async def __aenter__(self) -> Changes:
        self._watcher = Watcher.of_this_loop()
        self._watcher.enter()
        self._seen = self._watcher.count
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watcher.leave()

    async def next(self, timeout: float) -> None:
        """Return at the first change since the last call, or after the timeout."""
        if self._seen == self._watcher.count:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._watcher.tick()
        self._seen = self._watcher.count


class Watcher:
    """Counts the changes that reach an event loop, while there are waiters."""

    def __init__(self) -> None:
        self.count = 0
        self._waiters = 0
        self._ticked = asyncio.Event()
        self._alone_since = 0.0
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of_this_loop(cls) -> Watcher:
        return WATCHERS.setdefault(asyncio.get_running_loop(), cls())

    def enter(self) -> None:
        self._waiters += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="changes")

    def leave(self) -> None:
        self._waiters -= 1
        if not self._waiters:
            self._alone_since = time.monotonic()

    async def tick(self) -> None:
        await self._ticked.wait()

    def _notify(self) -> None:
        self.count += 1
        # All waiters of this event are woken; later ones wait on a new event.
        self._ticked.set()
        self._ticked = asyncio.Event()

    async def _watch(self) -> None:
        watch = (
            self._watch_postgresql
            if connection.vendor == "postgresql"
            else self._watch_sqlite
        )
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while self._waiters:
            began = self.count
            try:
                await watch()
            except Exception as error:
                if self.count > began + 1:
                    backoff.reset()
                logger.warning(
                    "Changes are not noticed for %.1f s: %s", backoff.pause, error
                )
                await backoff.sleep()
                # Changes may have been missed meanwhile, so waiters read now.
                self._notify()

    async def _watch_sqlite(self) -> None:
        path = str(connections.settings["default"]["NAME"])
        if is_in_memory():
            # An in-memory database has no count for other connections.
            while self._waiters:
                self._notify()
                await asyncio.sleep(INTERVAL)
            return
        # The read does not wait for a lock; a read that fails because of one counts as
        # a change.
        own = sqlite3.connect(path, timeout=0, isolation_level=None)
        writes = FileWrites(Path(path).parent)
        try:
            seen = None
            while self._waiters:
                try:
                    version = own.execute("PRAGMA data_version").fetchone()
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                    version = None
                if version != seen or version is None:
                    seen = version
                    self._notify()
                await writes.wait()
        finally:
            writes.close()
            own.close()

    async def _watch_postgresql(self) -> None:
        from psycopg import AsyncConnection

        async with await AsyncConnection.connect(
            **direct_address(), autocommit=True
        ) as own:
            await own.execute(f"LISTEN {CHANNEL}")
            # Notifications from before this moment were missed.
            self._notify()
            while self._waiters or time.monotonic() - self._alone_since < LINGER:
                async for _ in own.notifies(timeout=LINGER, stop_after=1):
                    self._notify()


class FileWrites:
    """Waits for writes to the files of a folder, as the kernel reports them (inotify).

    Where the kernel reports nothing, `wait` returns every `INTERVAL` seconds.
    """

    def __init__(self, folder: Path) -> None:
        self._inotify: Inotify | None = None
        self._latest = time.monotonic()
        if sys.platform != "linux":
            return
        from asyncinotify import Inotify, Mask

        inotify = Inotify()
        try:
            inotify.add_watch(folder, Mask.MODIFY)
            self._inotify = inotify
        except OSError as error:
            # An account may have so many watches only.
            logger.warning("The kernel reports no writes to the database: %s", error)
            inotify.close()

    async def wait(self) -> None:
        """Return soon after a write, or when it is time for another look."""
        if self._inotify is None:
            await asyncio.sleep(INTERVAL)
            return
        passed = time.monotonic() - self._latest
        seconds = QUIET_INTERVAL
        if passed < COMMIT_TIME:
            # Each look comes after twice the time of the one before.
            seconds = min(max(passed, FIRST_LOOK), INTERVAL)
        try:
            async with asyncio.timeout(seconds):
                await self._inotify.get()
        except TimeoutError:
            return
        self._latest = time.monotonic()
        await asyncio.sleep(FIRST_LOOK)

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()


WATCHERS: WeakKeyDictionary[asyncio.AbstractEventLoop, Watcher] = WeakKeyDictionary()


def direct_address() -> dict[str, Any]:
    """Return psycopg's parameters for a connection outside of Django's.

    A session that listens or holds a lock must not be shared, so its address must not
    be that of a pool of transactions.
    """
    known = connections["default"].get_connection_params()
    ours = ("cursor_factory", "context", "prepare_threshold")
    return {key: value for key, value in known.items() if key not in ours}
