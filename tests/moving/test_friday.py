"""The story of docs/how-to/moving-from-jupyterhub.md with real programs.

JupyterHub is stopped, this hub starts with the same file on the same database, and
nobody notices; then the way back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.databases import fresh_database
from tests.jupyterhub_databases import make

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable)


class Hub(make.Site):
    """This hub with the file of a JupyterHub."""

    def manage(self, *args: str) -> str:
        done = subprocess.run(
            [PYTHON, ROOT / "manage.py", *args],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        with (self.folder / "hub.log").open("ab") as log:
            process = subprocess.Popen(
                [PYTHON, ROOT / "manage.py", "hub"],
                env=self.env,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
            try:
                for _ in range(300):
                    assert process.poll() is None, (self.folder / "hub.log").read_text()
                    if is_up(self.url):
                        break
                    time.sleep(0.2)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/hub/api", timeout=5).ok
    except requests.RequestException:
        return False


def until_served(url: str) -> int:
    """Return the status of a server's page, as soon as its route leads there."""
    for _ in range(150):
        answer = requests.get(url, timeout=10, allow_redirects=False)
        if answer.status_code == 200:
            break
        time.sleep(0.2)
    return answer.status_code


def test_nobody_notices_the_move_and_the_way_back(tmp_path: Path) -> None:
    threading.Thread(target=make.ANNOUNCE.serve_forever, daemon=True).start()
    (tmp_path / "homes").mkdir()
    with make.Site(tmp_path, PYTHON, "first"):
        pass
    site = make.Site(tmp_path, PYTHON, "second")
    with site:
        filling = make.Filling(site, (6, 1))
        filling.run()
    secrets, old = filling.secrets, tmp_path / "jupyterhub.sqlite"
    before = old.read_bytes()
    try:
        with fresh_database("test_friday") as database:
            there = move(tmp_path, secrets, database)
        assert old.read_bytes() == before
        back(tmp_path, secrets, there)
    finally:
        make.end_servers(tmp_path)


def move(folder: Path, secrets: dict[str, str], database: dict[str, str]) -> Path:
    """Run this hub on what the other left; return the export."""
    hub = Hub(folder, PYTHON, "second")
    hub.env |= {
        "HUB_CONFIG": str(make.HERE / "site_config.py"),
        "HUB_DATA_DIR": str(folder / "data"),
        "HUB_IMPORT_JUPYTERHUB": "yes",
        **database,
    }
    if not database:
        hub.env.pop("HUB_DATABASE_URL", None)
    with hub.running():
        # Who works, works on: the server was not touched, its token counts, and so
        # does that of a browser that is signed in to it.
        assert until_served(f"{hub.url}/user/carol/") == 200
        for label in ("carol: plain", "carol: server", "carol: browser at her server"):
            assert hub.api(secrets[label], "GET", "user").json()["name"] == "carol"
        activity = {"last_activity": datetime.now(UTC).isoformat()}
        own = hub.api(
            secrets["carol: server"], "POST", "users/carol/activity", activity
        )
        assert own.status_code == 200
        for label in ("erin: taken out of the file", "service rotated: first"):
            assert hub.api(secrets[label], "GET", "user").status_code == 200
        # A second start does not import again.
        assert hub.manage("import_jupyterhub", "jupyterhub.sqlite").count("users") == 1
        # The owner stops and starts the other server as ever.
        dave = secrets["dave: server"]
        named = "users/dave/servers/mylab-2"
        assert hub.api(secrets["ada: command line"], "DELETE", named).status_code < 300
        for _ in range(100):
            if hub.api(dave, "GET", "user").status_code == 403:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the token of a stopped server is refused")
    exported = folder / "back.sqlite"
    hub.manage("export_jupyterhub", str(exported), "--old", "jupyterhub.sqlite")
    return exported


def back(folder: Path, secrets: dict[str, str], exported: Path) -> None:
    site = make.Site(folder, PYTHON, "second", f"sqlite:///{exported}")
    with site:
        assert until_served(f"{site.url}/user/carol/") == 200
        for label in ("carol: plain", "carol: server", "carol: browser at her server"):
            assert site.api(secrets[label], "GET", "user").json()["name"] == "carol"
        assert site.api(secrets["dave: server"], "GET", "user").status_code == 403
        assert not os.access(exported, os.X_OK)
