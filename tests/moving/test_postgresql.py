"""A JupyterHub database on a PostgreSQL server, read and written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import sqlalchemy
from django.db import connection
from sqlalchemy.exc import DBAPIError

from accounts.models import User
from moving.exporting import export_database
from moving.jupyterhub_database import OldDatabase
from scopes.refusals import Conflict
from tests.databases import fresh_database
from tests.moving.databases import database, facts, import_file
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="there is a server in that run only"
    ),
]

SECRETS = facts("6.1.1")["secrets"]


@pytest.fixture
def address(worker_number: int) -> Iterator[str]:
    """Yield the address of an empty database, as JupyterHub writes addresses."""
    with fresh_database(f"test_moving_{worker_number}") as found:
        parts = urlsplit(found["HUB_DATABASE_URL"])
        yield sqlalchemy.URL.create(
            "postgresql+psycopg2",
            username=parts.username,
            password=parts.password,
            port=parts.port,
            database=parts.path[1:],
            # Also the folder of a socket.
            query={"host": unquote(parts.hostname or "")},
        ).render_as_string(hide_password=False)


@pytest.fixture
def old(address: str, tmp_path: Path) -> str:
    """Return a database with JupyterHub's own tables and the rows of a real one."""
    from jupyterhub import orm

    engine = sqlalchemy.create_engine(address.replace("psycopg2", "psycopg"))
    orm.Base.metadata.create_all(engine)
    with (
        closing(sqlite3.connect(database("6.1.1", tmp_path))) as source,
        engine.begin() as target,
    ):
        source.row_factory = sqlite3.Row
        for table in orm.Base.metadata.sorted_tables:
            # Values as they are in the columns, whatever the ORM makes of them.
            plain = sqlalchemy.table(
                table.name, *(sqlalchemy.column(each.name) for each in table.c)
            )
            rows = [
                {key: value_of(table.c[key], row[key]) for key in row.keys()}  # noqa: SIM118
                for row in source.execute(f"SELECT * FROM {table.name}")
            ]
            if rows:
                target.execute(sqlalchemy.insert(plain), rows)
        target.execute(
            sqlalchemy.text("CREATE TABLE alembic_version (version_num text)")
        )
        target.execute(
            sqlalchemy.text("INSERT INTO alembic_version VALUES ('f460b0348206')")
        )
    engine.dispose()
    return address


def value_of(column: Any, value: Any) -> Any:
    if value is not None and isinstance(column.type, sqlalchemy.Boolean):
        return bool(value)
    if value is not None and isinstance(column.type, sqlalchemy.DateTime):
        return datetime.fromisoformat(value)
    return value


def test_everything_comes_from_a_server(old: str) -> None:
    report = import_file(old)

    assert report.came["users"] == 9
    assert report.came["running servers"] == 2
    for label in ("carol: plain", "service keeper", "carol: browser at her server"):
        assert verify(SECRETS[label]) is not None, label
    assert not +import_file(old).came


def test_a_server_is_only_read(old: str) -> None:
    with OldDatabase(old) as reading, pytest.raises(DBAPIError, match="read-only"):
        reading.connection.exec_driver_sql("DELETE FROM users")


def test_an_export_into_a_server_is_the_same_again(
    address: str, tmp_path: Path
) -> None:
    import_file(database("6.1.1", tmp_path))

    export_database(address)

    with pytest.raises(Conflict):
        export_database(address)
    with OldDatabase(address) as reading:
        assert reading.count("users") == User.objects.count()
        assert reading.count("api_tokens") == APIToken.objects.count()
    assert not +import_file(address).came
