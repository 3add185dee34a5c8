"""Django's SQLite back end, with private files and cached translations of statements.

Django writes placeholders as `%s` and translates them to SQLite's `?` by a regular
expression at every execution. For the long statements of fast requests this takes
longer than SQLite itself, so translations are cached.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

from database.networks import FUNCTION, is_within

_translate: Any = base.SQLiteCursorWrapper.convert_query


# Longer statements contain hundreds of ids, and are rarely repeated.
LONGEST_KEPT = 16_384


@lru_cache(maxsize=512)
def _translated(query: str) -> str:
    # The method uses nothing of its cursor.
    return _translate(None, query)


def keep_private(path: str) -> None:
    """Make a database readable by the hub's account only.

    SQLite gives the files beside it the mode that it has when they are made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        for each in (path, f"{path}-wal", f"{path}-shm"):
            # Only the owner of the file can change the mode.
            with suppress(FileNotFoundError, PermissionError):
                if os.stat(each).st_mode & 0o077:
                    os.chmod(each, 0o600)


class Cursor(base.SQLiteCursorWrapper):
    """A cursor that caches translations."""

    def convert_query(
        self, query: str, *, param_names: Iterable[str] | None = None
    ) -> str:
        if param_names is not None or len(query) > LONGEST_KEPT:
            return super().convert_query(query, param_names=param_names)
        return _translated(query)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose cursors cache translations."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        path = str(conn_params["database"])
        if not path.startswith(("file:", ":")):
            keep_private(path)
        connection = super().get_new_connection(conn_params)
        connection.create_function(FUNCTION, 2, is_within, deterministic=True)
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)
