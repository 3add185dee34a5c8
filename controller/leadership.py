"""The election of the one controller that acts.

One of several controllers holds a lock, the others stand by and take over when the
holder releases the lock or is gone. With SQLite the lock is on a file beside the
database and ends with the process. With PostgreSQL the lock belongs to a session and
is lost at the moment when that session ends.

A lock can't stop a write that its former holder is about to send. So a new leader
increments the epoch, and every write of a controller is refused if the epoch has
changed; see `records`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

import structlog
from django.conf import settings
from django.db import connections

from database.locks import TRY_TO_HOLD, Advisory
from database.notifications import direct_address, is_in_memory

log = structlog.get_logger("hub.controller")

# Seconds between two tries to get the lock. A session that waited within PostgreSQL
# would block vacuuming, and might get the lock after its machine was gone.
TRY_EVERY = 0.3
# Seconds between two checks that the path still leads to the locked file.
LOOK_EVERY = 5.0


class Lost(Exception):
    """The lock is lost, or its state is unknown: this controller must not act."""


class Lock(Protocol):
    """A lock of the leader; made for one term."""

    async def acquire(self) -> None:
        """Return once this process holds the lock."""

    async def watch(self) -> None:
        """Raise `Lost` once the lock is no longer held."""

    async def release(self) -> None:
        """Release the lock for the next controller."""


def new_lock() -> Lock:
    """Return the lock of the configured database."""
    if connections["default"].vendor == "postgresql":
        return SessionLock()
    name = str(connections["default"].settings_dict["NAME"])
    folder = settings.DATA_DIR if is_in_memory() else Path(name).absolute().parent
    return FileLock(folder / "controller.lock")


class FileLock:
    """A lock on a file, for the processes of one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    async def acquire(self) -> None:
        while not self._try():
            await asyncio.sleep(TRY_EVERY)

    def _try(self) -> bool:
        file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self.file = file
        if not self._is_the_one():
            self._let_go()
            return False
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return True

    def _is_the_one(self) -> bool:
        """Return whether the path still leads to the locked file."""
        if self.file is None:
            return False
        with suppress(OSError):
            held, there = os.fstat(self.file.fileno()), self.path.stat()
            return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
        return False

    def _let_go(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    async def watch(self) -> None:
        while self._is_the_one():
            await asyncio.sleep(LOOK_EVERY)
        raise Lost(f"{self.path} was removed or replaced")

    async def release(self) -> None:
        self._let_go()


class SessionLock:
    """A lock of a session with PostgreSQL, for controllers on any machine."""

    def __init__(self) -> None:
        self.session: Any = None

    async def acquire(self) -> None:
        import psycopg

        try:
            self.session = await psycopg.AsyncConnection.connect(
                **direct_address(), autocommit=True
            )
            while not await self._try():
                await asyncio.sleep(TRY_EVERY)
        except psycopg.Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise Lost(f"the database can't be reached: {reason}") from error

    async def _try(self) -> bool:
        cursor = await self.session.execute(TRY_TO_HOLD, [int(Advisory.CONTROLLER)])
        return bool((await cursor.fetchone())[0])

    async def watch(self) -> None:
        import psycopg

        try:
            while True:
                # The session listens to no channel, so this loop ends when the session
                # does.
                async for _ in self.session.notifies():
                    pass
        except psycopg.Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise Lost(f"the session that held the lock has ended: {reason}") from error

    async def release(self) -> None:
        import psycopg

        session, self.session = self.session, None
        if session is not None:
            with suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(1):
                    await session.close()
