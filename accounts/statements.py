"""Statements that answer a request almost by themselves, run with little around them.

Django's cursor looks after things that a read of one row has not got: transactions,
types, names of columns. On SQLite, which answers within microseconds, that is a third
of the time, so the driver is asked directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections


def first_row(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the first row of a SELECT, whose columns are text or numbers.

    `statement` is one of a few: what is made of it is kept.
    """
    database = connections[DEFAULT_DB_ALIAS]
    # Whoever watches queries, to log or to count them, watches Django's cursors.
    is_watched = database.queries_logged or database.execute_wrappers
    if database.vendor == "sqlite" and not is_watched:
        database.ensure_connection()
        with database.wrap_database_errors:
            found = database.connection.execute(_for_sqlite(statement), parameters)
            return found.fetchone()
    with database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


@lru_cache(maxsize=64)
def _for_sqlite(statement: str) -> str:
    return statement.replace("%s", "?").replace("%%", "%")
