"""Indexes that Django's migrations can't define for both databases, as operations.

`trigrams` finds any part of a name without reading all rows. SQLite keeps the
three-letter parts of columns in a full-text table, `TABLE_parts`, that triggers
update. SQLite drops a table's triggers when a later migration rebuilds that table, so
such a migration ends with the operation again. The same holds for `times`.

On PostgreSQL the index needs an extension that the owner of the database may create.
Where that fails, rows are searched one by one.

`times` sorts by a time that may be missing: rows without a time first; backwards, last.
"""

# Tables and columns are constants of migrations.
# ruff: noqa: S608

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, migrations, transaction

EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_trgm"


def trigrams(table: str, *columns: str) -> migrations.RunPython:
    """Return the operation that creates the index of a table's columns."""

    def build(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            for statement in full_text(table, columns):
                schema_editor.execute(statement, params=None)
            return
        parts = ", ".join(f"upper({column}) gin_trgm_ops" for column in columns)
        index = f"CREATE INDEX {table}_parts ON {table} USING gin ({parts})"
        try:
            with transaction.atomic(using=schema_editor.connection.alias):
                schema_editor.execute(EXTENSION, params=None)
                schema_editor.execute(index, params=None)
        except DatabaseError:
            pass

    def drop(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            for statement in without_full_text(table):
                schema_editor.execute(statement, params=None)
            return
        schema_editor.execute(f"DROP INDEX IF EXISTS {table}_parts", params=None)

    return migrations.RunPython(build, drop)


def times(table: str, column: str, name: str) -> migrations.RunPython:
    """Return the operation that creates the index of a time and the id."""

    def build(apps: Any, schema_editor: Any) -> None:
        # SQLite has this order by default.
        nulls = (
            " NULLS FIRST" if schema_editor.connection.vendor == "postgresql" else ""
        )
        schema_editor.execute(
            f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({column}{nulls}, id)",
            params=None,
        )

    def drop(apps: Any, schema_editor: Any) -> None:
        schema_editor.execute(f"DROP INDEX {name}", params=None)

    return migrations.RunPython(build, drop)


def full_text(table: str, columns: tuple[str, ...]) -> list[str]:
    """Return the SQL for the full-text table of SQLite, its triggers and its rows."""
    parts, names = f"{table}_parts", ", ".join(columns)
    new = ", ".join(f"NEW.{column}" for column in columns)
    old = ", ".join(f"OLD.{column}" for column in columns)
    insert = f"INSERT INTO {parts}(rowid, {names}) VALUES (NEW.id, {new});"
    delete = (
        f"INSERT INTO {parts}({parts}, rowid, {names}) "
        f"VALUES ('delete', OLD.id, {old});"
    )
    return [
        *without_full_text(table),
        f"CREATE VIRTUAL TABLE {parts} USING fts5("
        f"{names}, content='{table}', content_rowid='id', tokenize='trigram')",
        f"CREATE TRIGGER {parts}_insert AFTER INSERT ON {table} BEGIN {insert} END",
        f"CREATE TRIGGER {parts}_delete AFTER DELETE ON {table} BEGIN {delete} END",
        f"CREATE TRIGGER {parts}_update AFTER UPDATE OF {names} ON {table} "
        f"BEGIN {delete} {insert} END",
        f"INSERT INTO {parts}({parts}) VALUES ('rebuild')",
    ]


def without_full_text(table: str) -> list[str]:
    triggers = [
        f"DROP TRIGGER IF EXISTS {table}_parts_{event}"
        for event in ("insert", "delete", "update")
    ]
    return [*triggers, f"DROP TABLE IF EXISTS {table}_parts"]
