"""Reading the password files of FirstUseAuthenticator.

The file is made by Python's `dbm`, in the format that the Python of the old hub had:
GNU dbm, ndbm, `dbm.dumb`, or SQLite since Python 3.13. The configured name is a base
name: ndbm adds `.db`, or `.dir` and `.pag`; `dbm.dumb` adds `.dat` and `.dir`. Files
are opened for reading only.
"""

from __future__ import annotations

import dbm.dumb
import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from scopes.refusals import Invalid

# Limits: a hundred thousand people take some 15 MB.
MOST_BYTES: Final = 512 * 1024 * 1024
MOST_PEOPLE: Final = 1_000_000

SUFFIXES: Final = (".db", ".dat", ".dir", ".bak", ".pag")
SQLITE: Final = b"SQLite format 3\0"
# What the readers raise for damaged files. `dbm.error` of all formats is an OSError;
# `dbm.dumb` evaluates the lines of its index, and uses the results unchecked.
DAMAGES: Final = (
    *(OSError, sqlite3.Error, ValueError, KeyError, SyntaxError),
    *(TypeError, AttributeError, MemoryError, RecursionError),
)
# GNU dbm's numbers at the beginning of a file, in both orders of bytes.
GNU: Final = frozenset({0x13579ACE, 0x13579ACD, 0x13579ACF})


class PasswordFile(NamedTuple):
    """A file: its base name, its format, and the paths that belong to the file."""

    base: Path
    format: str
    paths: tuple[Path, ...]


def find_password_file(path: Path) -> PasswordFile | None:
    """Return the file with this base name or of which this is a part, if there is one.

    Raises `Invalid` for a file of an unknown format.
    """
    bases = [path]
    if path.suffix in SUFFIXES:
        bases.append(path.with_suffix(""))
    for base in bases:
        found = [_beside(base, suffix) for suffix in SUFFIXES]
        parts = {each.suffix: each for each in found if each.is_file()}
        if {".dat", ".dir"} <= parts.keys():
            return _file(
                base, "dumb", [parts[".dat"], parts[".dir"], parts.get(".bak")]
            )
        if {".pag", ".dir"} <= parts.keys():
            return _file(base, "ndbm", [parts[".pag"], parts[".dir"]])
        if ".db" in parts:
            return _file(base, "ndbm", [parts[".db"]])
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(16)
    if head == SQLITE:
        return _file(path, "sqlite", [path])
    if {int.from_bytes(head[:4], order) for order in ("little", "big")} & GNU:
        return _file(path, "gnu", [path])
    raise Invalid(f"{path} is no file of passwords that Python's dbm writes.")


def read_password_file(path: Path) -> dict[str, bytes]:
    """Return the digests of FirstUseAuthenticator by name.

    Raises `Invalid` if the file is missing, damaged or too large, or if this Python
    can't read its format.
    """
    file = find_password_file(path)
    if file is None:
        raise Invalid(f"There is no file of passwords {path}.")
    if sum(each.stat().st_size for each in file.paths) > MOST_BYTES:
        raise Invalid(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MB.")
    try:
        return _read(file, path)
    except DAMAGES as problem:
        reason = str(problem) or type(problem).__name__
        raise Invalid(f"{path} can't be read: {reason}") from None


def _read(file: PasswordFile, path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    size = 0
    # The entries of a damaged file may repeat and overlap, so each one counts.
    for number, (key, value) in enumerate(READERS[file.format](file.base), 1):
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise Invalid(f"{path} can't be read: an entry is not of bytes")
        found[key.decode()] = value
        size += len(key) + len(value)
        if number > MOST_PEOPLE:
            raise Invalid(f"{path} has more than {MOST_PEOPLE:,} names.")
        if size > MOST_BYTES:
            raise Invalid(f"{path} is larger than {MOST_BYTES // 1024 // 1024} MB.")
    return found


def _beside(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)


def _file(base: Path, format: str, paths: list[Path | None]) -> PasswordFile:
    return PasswordFile(base, format, tuple(path for path in paths if path))


def _read_sqlite(path: Path) -> Iterator[tuple[Any, Any]]:
    address = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        yield from connection.execute("SELECT key, value FROM Dict")


def _read_dumb(path: Path) -> Iterator[tuple[Any, Any]]:
    with dbm.dumb.open(str(path), "r") as file:
        for key in list(file.keys()):
            yield key, file[key]


def _read_gnu(path: Path) -> Iterator[tuple[Any, Any]]:
    return _read_with("dbm.gnu", path)


def _read_ndbm(path: Path) -> Iterator[tuple[Any, Any]]:
    return _read_with("dbm.ndbm", path)


def _read_with(name: str, path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        module = importlib.import_module(name)
    except ImportError:
        raise Invalid(
            f"{path} is a file of {name}, which this Python does not have. Convert it "
            "with the Python of the old hub: "
            'python3 -c "import dbm, dbm.dumb, sys; old = dbm.open(sys.argv[1]); '
            "new = dbm.dumb.open(sys.argv[2], 'n'); "
            '[new.__setitem__(key, old[key]) for key in old.keys()]; new.close()" '
            f"{path} {path}-converted"
        ) from None
    with module.open(str(path), "r") as file:
        for key in file.keys():  # noqa: SIM118 - these files are no mappings
            yield key, file[key]


READERS: Final = {
    "sqlite": _read_sqlite,
    "dumb": _read_dumb,
    "gnu": _read_gnu,
    "ndbm": _read_ndbm,
}
