"""Raw statements of fast requests, run with little overhead.

They are in this room because it is the leftmost one that uses the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    connection,
    connections,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

# Longest statement that is cached; longer ones contain hundreds of ids.
LONGEST_KEPT = 16_384


@cache
def vendor_in_use() -> str:
    """Return the kind of the database, cached because the connection is slow to tell.

    The kind is the same for the whole life of a process.
    """
    return connection.vendor


def first_row(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the first row of a SELECT; see `all_rows`."""
    row: tuple[Any, ...] | None = _ask(statement, parameters, "fetchone")
    return row


def all_rows(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT, whose columns are text or numbers.

    `statement` must be one of a few, because its translation is cached. Django's cursor
    handles transactions, types and names of columns, which such a read does not need.
    They take a third of its time, so the driver is called directly.

    If a connection broke since its last use, for instance by a restart of the database,
    the read is retried once with a new connection, because a read that begins a request
    can be repeated.
    """
    rows: list[tuple[Any, ...]] = _ask(statement, parameters, "fetchall")
    return rows


def _ask(statement: str, parameters: Sequence[Any], fetch: str) -> Any:
    database = connections[DEFAULT_DB_ALIAS]
    try:
        return _ask_once(database, statement, parameters, fetch)
    except (InterfaceError, OperationalError):
        if database.in_atomic_block or database.is_usable():
            raise
        database.close()
        return _ask_once(database, statement, parameters, fetch)


def _ask_once(
    database: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any], fetch: str
) -> Any:
    # Query logs and counters wrap Django's cursors, so these are used then.
    if database.queries_logged or database.execute_wrappers:
        with database.cursor() as cursor:
            cursor.execute(statement, parameters)
            return getattr(cursor, fetch)()
    if vendor_in_use() == "sqlite":
        statement = (
            _for_sqlite(statement)
            if len(statement) <= LONGEST_KEPT
            else _for_sqlite.__wrapped__(statement)
        )
    database.ensure_connection()
    with database.wrap_database_errors:
        return getattr(database.connection.execute(statement, parameters), fetch)()


def insert(
    instance: Model, condition: str = "", parameters: Sequence[Any] = ()
) -> bool:
    """Store a new row, as `save` does, with a cached statement, which saves most time.

    For very frequent rows of models whose `save` is Django's own. If the `condition`,
    in SQL, does not hold, nothing is stored and the result is False.
    """
    statement, fields = _insertion(type(instance), condition)
    values = [
        field.get_db_prep_save(field.pre_save(instance, True), connection)
        for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, *parameters])
        row = cursor.fetchone()
    if row is None:
        return False
    instance.pk = row[0]
    instance._state.adding = False
    instance._state.db = DEFAULT_DB_ALIAS
    return True


@lru_cache(maxsize=256)
def _for_sqlite(statement: str) -> str:
    return statement.replace("%s", "?").replace("%%", "%")


@cache
def _insertion(model: type[Model], condition: str = "") -> tuple[str, list[Any]]:
    meta = model._meta
    fields = [field for field in meta.local_concrete_fields if not field.primary_key]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    places = ", ".join(["%s"] * len(fields))
    rows = f"SELECT {places} WHERE {condition}" if condition else f"VALUES ({places})"
    statement = (
        f'INSERT INTO "{meta.db_table}" ({columns}) {rows} RETURNING "{meta.pk.column}"'
    )
    return statement, fields
