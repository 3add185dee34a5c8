"""Sites with real controllers, and databases made once and copied for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from installation import services_for_tests
from tests import factories
from tests.controller.site import (
    Proxy,
    Site,
    address_of,
    copy_sqlite,
    default_database,
)

GIVEN = os.environ.get("TEST_DATABASE_URL") or os.environ.get("HUB_DATABASE_URL", "")


def fill(url: str) -> None:
    """Make the tables that a hub expects, and the roles that every hub has."""
    with default_database(url):
        call_command("migrate", verbosity=0, interactive=False)
        call_command("createcachetable", verbosity=0)
        factories.make_default_roles()


@contextmanager
def postgresql_database(server: str, template: str = "template0") -> Iterator[str]:
    """Make a database on a server; drop it afterwards."""
    import psycopg
    from psycopg import sql

    name = f"controller_{secrets.token_hex(6)}"
    make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    with psycopg.connect(server, autocommit=True) as own:
        own.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield address_of(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as own:
            own.execute(drop.format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def filled_sqlite(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Path:
    path = tmp_path_factory.mktemp("template") / "hub.sqlite3"
    with django_db_blocker.unblock():
        fill(f"sqlite:///{path}")
        with default_database(f"sqlite:///{path}"), connection.cursor() as cursor:
            # All of it is in the one file that is copied.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Return the address of a PostgreSQL server, the given one or one of our own."""
    with services_for_tests.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def filled_postgresql(postgresql: str, django_db_blocker: Any) -> Iterator[str]:
    """Return the name of a database that others are copies of."""
    with postgresql_database(postgresql) as url:
        with django_db_blocker.unblock():
            fill(url)
        yield url.rpartition("/")[2]


@pytest.fixture
def make_site(
    tmp_path: Path, settings: Any, django_db_blocker: Any
) -> Iterator[Callable[[str], Site]]:
    """Return what makes sites; they and their processes end with the test."""
    settings.HUB = replace(settings.HUB, allow_named_servers=True)
    with ExitStack() as stack:

        def make(url: str) -> Site:
            stack.enter_context(django_db_blocker.unblock())
            stack.enter_context(default_database(url))
            proxy = Proxy()
            stack.callback(proxy.close)
            site = Site(tmp_path, url, proxy)
            stack.callback(site.close)
            return site

        yield make


@pytest.fixture
def sqlite_site(
    make_site: Callable[[str], Site], filled_sqlite: Path, tmp_path: Path
) -> Site:
    return make_site(copy_sqlite(filled_sqlite, tmp_path / "hub.sqlite3"))


@pytest.fixture
def postgresql_site(
    make_site: Callable[[str], Site], postgresql: str, filled_postgresql: str
) -> Iterator[Site]:
    with postgresql_database(postgresql, filled_postgresql) as url:
        site = make_site(url)
        yield site
        site.close()


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    """Return a site with the database that this run of the tests is about."""
    kind = "postgresql" if GIVEN.startswith("postgres") else "sqlite"
    found: Site = request.getfixturevalue(f"{kind}_site")
    return found
