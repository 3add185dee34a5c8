"""Databases for hubs that tests start as separate processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit


@contextmanager
def fresh_database(name: str) -> Iterator[dict[str, str]]:
    """Yield the environment that gives a hub an empty database.

    On SQLite that is the file in its data directory, for which `HUB_DATABASE_URL` must
    be unset; on PostgreSQL a database is made beside the one that the tests were given,
    and dropped afterwards.
    """
    url = os.environ.get("TEST_DATABASE_URL") or os.environ.get("HUB_DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield {}
        return

    import psycopg
    from psycopg import sql

    parts = urlsplit(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            own = urlunsplit(parts._replace(path=f"/{name}"))
            yield {"HUB_DATABASE_URL": own}
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
