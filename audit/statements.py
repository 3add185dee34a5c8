"""Statements that answer a request almost by themselves, run with little around them.

They stand here because this is the leftmost room that asks the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Model


def first_row(statement: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the first row of a SELECT, whose columns are text or numbers.

    `statement` is one of a few: what is made of it is kept. Django's cursor looks
    after things that such a read has not got: transactions, types, names of columns.
    On SQLite, which answers within microseconds, that is a third of the time, so the
    driver is asked directly.
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


def insert(instance: Model) -> None:
    """Store a new row, as `save` does; composing the statement anew costs most of that.

    For rows that are written at every turn, by models whose `save` is Django's own.
    """
    statement, fields = _insertion(type(instance))
    values = [
        field.get_db_prep_save(field.pre_save(instance, True), connection)
        for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        instance.pk = cursor.fetchone()[0]
    instance._state.adding = False
    instance._state.db = DEFAULT_DB_ALIAS


@lru_cache(maxsize=64)
def _for_sqlite(statement: str) -> str:
    return statement.replace("%s", "?").replace("%%", "%")


@cache
def _insertion(model: type[Model]) -> tuple[str, list[Any]]:
    meta = model._meta
    fields = [field for field in meta.local_concrete_fields if not field.primary_key]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    places = ", ".join(["%s"] * len(fields))
    statement = (
        f'INSERT INTO "{meta.db_table}" ({columns}) VALUES ({places})'  # noqa: S608
        f' RETURNING "{meta.pk.column}"'
    )
    return statement, fields
