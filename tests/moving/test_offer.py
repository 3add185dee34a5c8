"""The offer at a start, and what depends on the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from traitlets.config import Config

from hubsite.process.prepare import move_in
from moving.jupyterhub_database import local_moment
from moving.offer import offered, source_of
from tests.moving.databases import database, import_file

pytestmark = pytest.mark.django_db


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a JupyterHub database beside a configuration, in another folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    path = database("4.1.6", tmp_path)
    return path.rename(tmp_path / "jupyterhub.sqlite")


@pytest.mark.parametrize("db_url", ["", "sqlite:///jupyterhub.sqlite", "absolute"])
def test_a_database_that_was_not_imported_is_offered(
    beside: Path, tmp_path: Path, db_url: str
) -> None:
    before = beside.read_bytes()
    db_url = f"sqlite:///{beside}" if db_url == "absolute" else db_url

    assert offered(db_url, tmp_path) == str(beside)
    assert beside.read_bytes() == before

    import_file(beside)
    assert offered(db_url, tmp_path) == ""


def test_a_start_names_the_command(beside: Path) -> None:
    raw = Config({"JupyterHub": {"db_url": f"sqlite:///{beside}"}})

    (line,) = move_in(replace(settings.HUB, raw=raw))

    assert f"`manage.py import_jupyterhub {beside}`" in line
    assert "HUB_IMPORT_JUPYTERHUB=yes" in line


def test_other_files_are_not_offered(tmp_path: Path) -> None:
    (tmp_path / "jupyterhub.sqlite").write_bytes(b"something else")

    assert offered("", tmp_path) == ""
    assert offered("", None) == ""


def test_an_address_is_named_without_its_password() -> None:
    address = "postgresql+psycopg2://me:hidden@db.example:5433/hub?sslmode=require"

    assert source_of(address) == "postgresql://me@db.example:5433/hub"
    assert offered(address, None) == address


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_seconds_of_early_releases_are_right_in_every_zone(new_york: None) -> None:
    """JupyterHub read UTC's clock as the machine's local time."""
    expires_at = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)
    stored = expires_at.replace(tzinfo=None).timestamp()

    assert stored != expires_at.timestamp()
    assert local_moment(int(stored)) == expires_at
    assert local_moment("never") is None
