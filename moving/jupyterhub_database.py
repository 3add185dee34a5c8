"""Read access to a database of JupyterHub, of any release from 1.5 on.

Tables and columns that a release lacks read as if they were empty. The database is
opened for reading only: SQLite's file in the mode `ro`, servers in a transaction that
is read-only. All reads see the state of one moment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
)

from controller.spawners.sanitize import storable
from moving.offer import file_of, source_of
from scopes.refusals import Invalid

# The first revision of each release that changed the layout.
RELEASES: Final = {
    "4dc2d5a8c53c": "1.x",
    "833da8570507": "2.x",
    "651f5419b74d": "3.x",
    "0eee8c825d24": "4.x",
    "3c2384c5aae1": "5.x",
    "4621fec11365": "5.x",
    "be8ecf03ddac": "6.x",
    "afd65840b69e": "6.x",
    "ff1860e38070": "6.x",
    "f460b0348206": "6.x",
}
LATEST: Final = "f460b0348206"
# Older ones have tokens of other kinds; nobody runs them.
ANCIENT: Final = (
    *("19c0846f6344", "eeb276e51423", "af4cbdb2d13c", "3ec6993fe20c"),
    *("1cebaf56856c", "56cc5a70207e", "99a28a4418e1", "d68c98b66cd4"),
    "896818069c98",
)
TABLES: Final = (
    *("users", "groups", "user_group_map", "roles", "user_role_map", "group_role_map"),
    *("service_role_map", "services", "servers", "spawners", "oauth_clients"),
    *("api_tokens", "api_token_role_map", "oauth_client_role_map", "shares"),
    *("oauth_access_tokens", "share_codes", "users_info", "alembic_version"),
)
# Drivers that this hub has, instead of those that JupyterHub's addresses name.
DRIVERS: Final = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
DRIVERS["mariadb"] = DRIVERS["mysql"]
# Rows of one read.
CHUNK: Final = 1_000

Row = Mapping[str, Any]


class OldDatabase:
    """An open database; use it as a context manager."""

    def __init__(self, address: str) -> None:
        self.url = parse_address(address)
        self.source = source_of(address)
        path = file_of(address)
        if path is not None and not path.is_file():
            raise Invalid(f"There is no file {path}.")

    def __enter__(self) -> OldDatabase:
        self.engine = self._engine()
        try:
            self.connection = self.engine.connect()
            self._begin()
            self._reflect()
        except DBAPIError as problem:
            self.engine.dispose()
            raise Invalid(
                f"The database {self.source} can't be read: {problem.orig}"
            ) from None
        except BaseException:
            self.engine.dispose()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()
        self.engine.dispose()

    def _engine(self) -> sqlalchemy.Engine:
        options: dict[str, Any] = {}
        url = self.url
        name = url.get_backend_name()
        if name == "sqlite":
            uri = f"{Path(self.source).as_uri()}?mode=ro"
            url = url.set(database=uri.removeprefix("file:///"), query={})
            url = sqlalchemy.make_url(f"sqlite:///{uri}&uri=true")
        elif name in DRIVERS:
            url = url.set(drivername=DRIVERS[name])
            options["isolation_level"] = "REPEATABLE READ"
        try:
            return sqlalchemy.create_engine(url, **options)
        except (NoSuchModuleError, ModuleNotFoundError) as problem:
            missing = "pymysql" if name in ("mysql", "mariadb") else "psycopg"
            raise Invalid(
                f"A driver for {name} is missing ({problem}): "
                f"install it with `.venv/bin/pip install {missing}`"
            ) from None

    def _begin(self) -> None:
        name = self.url.get_backend_name()
        if name == "postgresql":
            self.connection = self.connection.execution_options(
                postgresql_readonly=True
            )
            self.connection.execute(sqlalchemy.text("SELECT 1"))
        elif name in ("mysql", "mariadb"):
            self.connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
            self.connection.commit()
            self.connection.exec_driver_sql("START TRANSACTION READ ONLY")
        else:
            # The driver begins no transaction for reads, so that each would see another
            # state.
            self.connection.exec_driver_sql("PRAGMA query_only = ON")
            self.connection.exec_driver_sql("BEGIN")

    def _reflect(self) -> None:
        inspector = sqlalchemy.inspect(self.connection)
        present = set(inspector.get_table_names())
        if not {"users", "alembic_version"} <= present:
            raise Invalid(f"{self.source} is no database of JupyterHub.")
        metadata = sqlalchemy.MetaData()
        metadata.reflect(
            self.connection,
            only=[name for name in TABLES if name in present],
            resolve_fks=False,
        )
        self.tables = metadata.tables
        versions = list(self.rows("alembic_version", order=None))
        self.revision = str(versions[0]["version_num"]) if versions else ""
        if self.revision in ANCIENT or not versions:
            raise Invalid(
                f"{self.source} is of a JupyterHub before 1.0: bring it to 1.5 first."
            )

    @property
    def release(self) -> str:
        """The release that wrote the layout, as far as that is known."""
        return RELEASES.get(self.revision, f"newer than 6.1 ({self.revision})")

    @cached_property
    def is_before_roles(self) -> bool:
        """Whether people and tokens have no roles: 1.x, or just brought up from 1.x."""
        return self.count("roles") == 0

    @property
    def has_token_roles(self) -> bool:
        """Whether tokens have roles and no scopes: 2.x."""
        return "api_token_role_map" in self.tables

    def has(self, table: str) -> bool:
        return table in self.tables

    def has_column(self, table: str, column: str) -> bool:
        return table in self.tables and column in self.tables[table].c

    def count(self, table: str) -> int:
        if table not in self.tables:
            return 0
        chosen = sqlalchemy.select(sqlalchemy.func.count())
        number = self.connection.execute(
            chosen.select_from(self.tables[table])
        ).scalar_one()
        return int(number)

    def rows(
        self, table: str, *, order: str | None = "id", **ranges: Sequence[int]
    ) -> Iterator[Row]:
        """Yield rows; `ranges` are first and last value of columns.

        A missing column reads as None.
        """
        if table not in self.tables:
            return
        found = self.tables[table]
        chosen = sqlalchemy.select(found)
        for column, (first, last) in ranges.items():
            chosen = chosen.where(found.c[column].between(first, last))
        if order is not None:
            chosen = chosen.order_by(found.c[order])
        yield from self._read(chosen, table)

    def _read(self, chosen: sqlalchemy.Select[Any], table: str) -> Iterator[Row]:
        rows = iter(self.connection.execute(chosen).mappings())
        while True:
            try:
                row = next(rows, None)
            except (DBAPIError, ValueError, TypeError, OverflowError) as problem:
                # A column contains what is none of its type.
                raise Invalid(
                    f"The table {table} of {self.source} can't be read: {problem}"
                ) from None
            if row is None:
                return
            yield Tolerant(row)

    def chunks(self, table: str) -> Iterator[list[Row]]:
        """Yield the rows of a table by ascending id, some at a time."""
        if table not in self.tables:
            return
        found = self.tables[table]
        last = -1
        while True:
            chosen = (
                sqlalchemy.select(found)
                .where(found.c.id > last)
                .order_by(found.c.id)
                .limit(CHUNK)
            )
            rows: list[Row] = list(self._read(chosen, table))
            if not rows:
                return
            last = rows[-1]["id"]
            yield rows


class Tolerant(dict[str, Any]):
    """A row whose missing columns are None."""

    def __missing__(self, key: str) -> None:
        return None


def parse_address(address: str) -> sqlalchemy.URL:
    """Return the URL of a database from a path or an address."""
    if "://" not in address:
        return sqlalchemy.URL.create("sqlite", database=address)
    try:
        url = sqlalchemy.make_url(address)
        name = url.get_backend_name()
    except (ArgumentError, ValueError, NoSuchModuleError):
        # The address may contain a password, so the message does not repeat it.
        raise Invalid(
            "Expected the path of a file, or an address such as "
            "postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME"
        ) from None
    if name not in ("sqlite", *DRIVERS):
        raise Invalid(
            f"JupyterHub's databases are SQLite, PostgreSQL or MySQL, not {name}."
        )
    return url


# Values


def text(value: Any, most: int | None = None) -> str:
    """Return a text as a database can hold it, cut at a number of characters."""
    found = str(storable("" if value is None else str(value)))
    return found if most is None else found[:most]


def moment(value: Any) -> datetime | None:
    """Return a time, which JupyterHub stores as UTC without saying so."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def local_moment(value: Any) -> datetime | None:
    """Return a time from JupyterHub's seconds since 1970.

    Up to 4.1 they are the seconds of UTC's clock read as the machine's local time, so
    the machine's zone takes the difference back.
    """
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(float(value)).replace(tzinfo=UTC)
    except (OverflowError, OSError, ValueError):
        return None


def loaded(value: Any) -> Any:
    """Return the value of a JSON column; None for what is none."""
    if isinstance(value, bytes | memoryview):
        value = bytes(value).decode("utf-8", "replace")
    try:
        if isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return storable(value)
    except (ValueError, RecursionError):
        return None


def texts(value: Any) -> list[str]:
    """Return the texts in a JSON list."""
    found = loaded(value)
    return (
        [each for each in found if isinstance(each, str)]
        if isinstance(found, list)
        else []
    )
