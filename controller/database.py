"""Database access from an event loop that must not block."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db import connections as all_connections

from controller.leadership import Lost
from database.backoff import Backoff
from database.failures import passes

log = structlog.get_logger("hub.controller")

T = TypeVar("T")

THREADS = 4
# Seconds of idleness after which a firewall or pool may have closed a connection.
TRUSTED = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class Database:
    """A few threads, each with a connection of its own."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
        self.age = 0

    def renew(self) -> None:
        """Have all threads reconnect, because one cause breaks all connections."""
        self.age += 1

    async def run(self, do: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Run a function in a thread, and retry while the failure is temporary.

        All writes of the function must be one transaction. Raises `Lost` if the
        connection to PostgreSQL breaks, because then it is unknown whether the
        transaction was committed and whether the lock is still held.
        """
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                return await self._run_once(partial(do, *args, **keywords))
            except (OperationalError, InterfaceError) as error:
                if not passes(error):
                    raise
                log.warning("The database can't be used", reason=first_line(error))
            await backoff.sleep()

    async def _run_once(self, do: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self.executor, ask, do, self.age)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # A thread can't be stopped, so cleanup must wait for the thread to end.
            await asyncio.wait({future})
            if not future.cancelled():
                future.exception()
            raise


class _Thread(threading.local):
    """When this thread's connection was last used, and the age of the connection."""

    used = 0.0
    age = 0


_thread = _Thread()


def ask(do: Callable[[], T], age: int) -> T:
    """Call a function with a connection that is likely to work."""
    if connection.connection is not None and (
        _thread.age != age
        or (time.monotonic() - _thread.used > TRUSTED and not connection.is_usable())
    ):
        connection.close()
    _thread.age = age
    try:
        return do()
    except DatabaseError as error:
        if connection.vendor == "postgresql" and (
            isinstance(error, OperationalError | InterfaceError) and not passes(error)
        ):
            connection.close()
            raise Lost(f"the database is gone: {first_line(error)}") from error
        raise
    finally:
        _thread.used = time.monotonic()


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def notice_broken_connections() -> None:
    """Have the server detect that this process is gone.

    An open transaction of a controller that can't be reached any more would block the
    next controller. The options of all connections detect a lost server at this end.
    """
    known = all_connections.settings["default"]
    if not known["ENGINE"].endswith("postgresql"):
        return
    options: dict[str, Any] = known.setdefault("OPTIONS", {})
    options["options"] = " ".join(
        (
            options.get("options", ""),
            "-c idle_in_transaction_session_timeout=30s",
            "-c tcp_keepalives_idle=10",
            "-c tcp_keepalives_interval=3",
            "-c tcp_keepalives_count=3",
        )
    ).strip()
