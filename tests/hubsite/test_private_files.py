"""Files that only the hub's account may read, and the number of old logs."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.server_events import to_file
from database.sqlite3.base import keep_private
from hubsite.process import children
from hubsite.process.children import OwnLog, PipedLog


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def _open_to_all() -> Any:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_database_is_private(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite3"

    keep_private(str(path))

    assert mode(path) == 0o600


def test_a_database_that_was_put_there_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (a)")
        files = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
        for each in files:
            each.chmod(0o644)

        keep_private(str(path))

        assert [mode(each) for each in files] == [0o600] * 3
    database.close()


def test_events_are_private(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    emit = to_file()
    path = tmp_path / "logs" / "events.log"

    emit((datetime.now(UTC), {"action": "start"}))
    assert mode(path) == 0o600


def test_events_of_an_earlier_version_become_private(
    tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path
    path = tmp_path / "logs" / "events.log"
    path.parent.mkdir()
    path.write_text("{}\n")

    to_file()((datetime.now(UTC), {"action": "start"}))

    assert mode(path) == 0o600


@pytest.mark.parametrize("kind", [PipedLog, OwnLog])
def test_some_full_logs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(children, "LOG_LIMIT", 10)
    monkeypatch.setenv("HUB_LOG_FILES", "3")
    log = kind("web", tmp_path)

    for number in range(6):
        line = f"line number {number}\n".encode()
        if kind is PipedLog:
            log.write(line)
        else:
            with log.path.open("ab") as file:
                file.write(line)
            log.follow()

    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [
        *("web.log", "web.log.1", "web.log.2", "web.log.3"),
    ]
    assert [path.read_text() for path in files[1:]] == [
        f"line number {number}\n" for number in (5, 4, 3)
    ]
    assert {mode(path) for path in files} == {0o600}
