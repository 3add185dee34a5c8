"""The offer at a start to import the database that the configuration names.

Nothing here loads the library that reads databases, because each start calls it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from moving.models import ImportRun

# The tables that every JupyterHub has.
TABLES = {"users", "spawners", "alembic_version"}


def source_of(address: str) -> str:
    """Return the name of a database in the memory of imports, without a password."""
    path = file_of(address)
    if path is not None:
        return str(path)
    parts = urlsplit(address)
    kind = parts.scheme.partition("+")[0]
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{kind}://{user}{parts.hostname or ''}{port}{parts.path}"


def file_of(address: str, beside: Path | None = None) -> Path | None:
    """Return the file of an SQLite address or path; None for a server.

    A relative one starts at the working folder, or else at the folder `beside`.
    """
    if address.startswith("sqlite:///"):
        address = address.removeprefix("sqlite:///").partition("?")[0]
    elif "://" in address:
        return None
    path = Path(address).absolute()
    if beside is not None and not path.exists():
        return beside / address
    return path


def offered(db_url: str, folder: Path | None) -> str:
    """Return the database that a start may import, or "".

    `db_url` is that of the configuration, whose file is in `folder`.
    """
    address = db_url or "sqlite:///jupyterhub.sqlite"
    path = file_of(address, folder)
    if path is not None:
        if not is_jupyterhub_file(path):
            return ""
        address = str(path)
    runs = ImportRun.objects.filter(source=source_of(address)[:1023])
    return "" if runs.filter(finished_at__isnull=False).exists() else address


def is_jupyterhub_file(path: Path) -> bool:
    """Return whether a file is an SQLite database of JupyterHub; it is only read."""
    if not path.is_file():
        return False
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master")
            return {name for (name,) in names} >= TABLES
    except sqlite3.Error:
        return False
