"""Temporary failures of the database."""

from __future__ import annotations

import sqlite3
from typing import Final

from django.db import DatabaseError, InterfaceError, OperationalError, connection

# Another writer, a full disk.
PASSING_SQLITE: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    }
)
# A deadlock that was resolved by ending this transaction, a lock that was not free in
# time, no memory or disk or connection left.
CONFLICT: Final = ("40001", "40P01", "55P03")
PASSING_POSTGRESQL: Final = (*CONFLICT, "53")
# A server that is stopping or starting, or that may not write because another server is
# the primary now.
CHANGING_POSTGRESQL: Final = ("57P", "08", "25006")

# Seconds after which a client may try again.
RETRY_AFTER: Final = 2
DISK_FULL: Final = "The hub's disk is full, so nothing was changed."
BUSY: Final = "The database is busy; try again in a moment."


def passes(error: BaseException) -> bool:
    """Return whether a retry may succeed in a moment, and nothing was changed yet."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in PASSING_SQLITE
    return _state(error).startswith(PASSING_POSTGRESQL)


def is_conflict(error: BaseException) -> bool:
    """Return whether a transaction failed on PostgreSQL because of locks of others."""
    return _state(error).startswith(CONFLICT)


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database could not be used, through no fault of the request.

    If the connection broke at the commit, it is unknown whether the change was made.
    """
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DatabaseError) and _state(error).startswith(
        (*PASSING_POSTGRESQL, *CHANGING_POSTGRESQL)
    )


def explanation(error: BaseException) -> str:
    """Return a message about the failure, for people and programs."""
    text = str(error)
    is_full = "disk is full" in text or "No space left" in text
    return DISK_FULL if is_full else BUSY


def leave_standby(error: BaseException) -> None:
    """Close the connection to a server that is no primary any more.

    The next connection looks up the primary again.
    """
    if _state(error) == "25006" and not connection.in_atomic_block:
        connection.close()


def _state(error: BaseException) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""
