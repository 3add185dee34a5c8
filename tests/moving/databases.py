"""The databases that real JupyterHubs made, as files.

They are made by tests/jupyterhub_databases.
"""

from __future__ import annotations

import json
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any, Final

from moving.importing import import_database
from moving.jupyterhub_database import OldDatabase
from moving.report import Report
from moving.steps import steps_of

FOLDER: Final = Path(__file__).parents[1] / "jupyterhub_databases"
RELEASES: Final = ("1.5.1", "2.3.1", "3.1.1", "4.1.6", "5.4.6", "6.1.1")


def database(release: str, folder: Path) -> Path:
    """Return the database of a release as a new file."""
    path = folder / f"{release}.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.executescript((FOLDER / f"{release}.sql").read_text())
    connection.close()
    return path


@cache
def facts(release: str) -> dict[str, Any]:
    """Return the secrets of a release's database, and what its hub answered."""
    found: dict[str, Any] = json.loads((FOLDER / f"{release}.json").read_text())
    return found


def import_file(
    path: Path | str,
    *,
    old_keys: tuple[bytes, ...] = (),
    firstuse: Path | None = None,
    **options: Any,
) -> Report:
    with OldDatabase(str(path)) as old:
        return import_database(old, steps_of(old_keys, firstuse), **options)
