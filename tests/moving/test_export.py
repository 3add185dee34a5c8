"""The way back: a real JupyterHub 6.1 starts on what was exported."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from moving.exporting import export_database
from moving.jupyterhub_database import OldDatabase
from moving.report import Report
from scopes.refusals import Conflict
from servers.models import Server
from tests.factories import make_token
from tests.jupyterhub_databases import make
from tests.moving.databases import database, facts, import_file
from tokens.actions.changes import set_limits
from tokens.actions.pausing import disable_tokens
from tokens.actions.revocation import revoke_token
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

BY = Actor.system("test")
SECRETS = facts("6.1.1")["secrets"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = database("6.1.1", tmp_path)
    import_file(path)
    return path


def export(path: Path, old: Path | None = None) -> Report:
    if old is None:
        return export_database(str(path))
    with OldDatabase(str(old)) as reading:
        return export_database(str(path), reading)


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def server() -> Iterator[int]:
    """Run a process that answers as carol's server does, and yield its id."""
    port = facts("6.1.1")["servers"]["carol/"]
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process.pid
        process.terminate()


@pytest.mark.slow
def test_jupyterhub_starts_and_knows_everybody(
    old: Path, tmp_path: Path, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.objects.filter(user__name="carol", name="").update(state={"pid": server})
    # One secret was used here, so that its digest is in the old database alone.
    assert verify(SECRETS["carol: plain"]) is not None
    revoke_token(APIToken.objects.get(note="by herself"), by=BY)
    _, ours = make_token(User.objects.get(name="carol"), scopes=["inherit"])
    place = tmp_path / "site"
    (place / "homes").mkdir(parents=True)
    path = place / "jupyterhub.sqlite"

    export(path, old)

    assert path.stat().st_mode & 0o777 == 0o600
    threading.Thread(target=make.ANNOUNCE.serve_forever, daemon=True).start()
    with make.Site(place, Path(sys.executable), "second") as site:
        admin = SECRETS["ada: command line"]
        found = site.ask(admin, "GET", "users")
        assert {user["name"] for user in found} == set(
            User.objects.values_list("name", flat=True)
        )
        assert [user["name"] for user in found if user["admin"]] == ["ada"]
        group = site.ask(admin, "GET", f"groups/{quote('Übung 7')}")
        assert set(group["users"]) == {"dave", "zoë"}
        for label in ("carol: plain", "carol: note", "carol: filter", "service keeper"):
            answer = site.api(SECRETS[label], "GET", "user")
            assert answer.status_code == 200, label
        for secret in (SECRETS["carol: own"], ours):
            assert site.api(secret, "GET", "user").status_code == 403
        # The server that runs was adopted with its token.
        own = SECRETS["carol: server"]
        assert site.api(own, "GET", "user").json()["name"] == "carol"
        for _ in range(100):
            servers = site.ask(admin, "GET", "users/carol")["servers"]
            if servers.get("", {}).get("ready"):
                break
            time.sleep(0.1)
        assert servers[""]["ready"]
        shares = site.ask(admin, "GET", "shares/dave/mylab-2")["items"]
        assert len(shares) == 3
        assert {service for service in site.ask(admin, "GET", "services")} >= {"added"}
        state = site.ask(admin, "GET", "users/dave")
        assert state["groups"] == ["Übung 7"]


def test_tokens_that_were_used_go_with_the_old_database_only(
    old: Path, tmp_path: Path
) -> None:
    assert verify(SECRETS["carol: plain"]) is not None
    total = APIToken.objects.count()

    without = export(tmp_path / "1.sqlite")
    beside = export(tmp_path / "2.sqlite", old)

    assert without.came["tokens"] == total - 1
    assert without.left_of("tokens") == 1
    assert beside.came["tokens"] == total
    # The digest is the same as before.
    query = "SELECT hashed FROM api_tokens ORDER BY hashed"
    assert rows(tmp_path / "2.sqlite", query) == rows(old, query)


def test_what_ended_or_changed_here_gives_nobody_more_there(
    old: Path, tmp_path: Path
) -> None:
    chosen = list(APIToken.objects.filter(client_id="", user__isnull=False)[:5])
    revoke_token(chosen[0], by=BY)
    disable_tokens(APIToken.objects.filter(pk=chosen[1].pk), by=BY)
    set_limits(chosen[2], networks=["192.0.2.0/24"], rate_limit=None, by=BY)
    rotate_token(chosen[3], by=BY)
    APIToken.objects.filter(pk=chosen[4].pk).update(expires_at=timezone.now())
    User.objects.filter(name="ada").update(is_active=False)

    export(tmp_path / "new.sqlite", old)

    went = {pk for (pk,) in rows(tmp_path / "new.sqlite", "SELECT id FROM api_tokens")}
    assert not went & {token.pk for token in chosen}
    ada = "(SELECT id FROM users WHERE name = 'ada' AND admin = 0)"
    for table in ("api_tokens", "user_role_map"):
        query = f"SELECT {ada}, count(*) FROM {table} WHERE user_id = {ada}"
        ((pk, number),) = rows(tmp_path / "new.sqlite", query)
        assert pk
        assert number == 0


def test_an_export_overwrites_nothing(old: Path, tmp_path: Path) -> None:
    before = old.read_bytes()

    with pytest.raises(Conflict):
        export(old)

    assert old.read_bytes() == before


def test_there_and_back_is_the_same(old: Path, tmp_path: Path) -> None:
    """An export of what was imported, imported again, is known row by row."""
    export(tmp_path / "new.sqlite")

    report = import_file(tmp_path / "new.sqlite")

    assert not +report.came
    for query in (
        "SELECT name, admin FROM users ORDER BY name",
        "SELECT hashed, prefix, note, expires_at, session_id FROM api_tokens"
        " ORDER BY hashed",
        "SELECT u.name, g.name FROM user_group_map m JOIN users u ON u.id = m.user_id "
        "JOIN groups g ON g.id = m.group_id ORDER BY 1, 2",
        "SELECT u.name, r.name FROM user_role_map m JOIN users u ON u.id = m.user_id "
        "JOIN roles r ON r.id = m.role_id ORDER BY 1, 2",
        "SELECT hashed, exchange_count FROM share_codes",
        "SELECT scopes FROM shares ORDER BY id",
    ):
        assert rows(tmp_path / "new.sqlite", query) == rows(old, query)


def test_an_export_follows_no_link(tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "jupyterhub.sqlite"
    link.symlink_to(elsewhere)

    with pytest.raises(Conflict, match="exists already"):
        export_database(str(link))
    assert not elsewhere.exists()
