"""Other sessions of the database: one that holds a lock, and threads with their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from django.db import connection, connections
from django.db.models import Model

from database.notifications import direct_address

T = TypeVar("T")


@contextmanager
def held(*rows: Model, strength: str = "UPDATE") -> Iterator[Any]:
    """Have another session lock these rows until the block ends."""
    with psycopg.connect(**direct_address()) as other:
        for row in rows:
            table = connection.ops.quote_name(row._meta.db_table)
            other.execute(
                f"SELECT 1 FROM {table} WHERE id = %s FOR {strength}", [row.pk]
            )
        yield other
        other.rollback()


class Crowd:
    """Threads of which each has a connection of its own, as those of the hub."""

    def __init__(self, number: int) -> None:
        self.pool = ThreadPoolExecutor(number)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=True)

    def do(self, act: Callable[..., T], *args: Any, **options: Any) -> Future[T]:
        def run() -> T:
            try:
                return act(*args, **options)
            finally:
                connections.close_all()

        return self.pool.submit(run)


def waits_for_a_lock() -> bool:
    """Tell whether another session on this database waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])
