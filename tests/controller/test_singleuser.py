"""A real `jupyterhub-singleuser`, and people who sign in to it through the hub.

One server is used for all steps of a test, because its start takes seconds.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from traitlets.config import Config

from accounts.models import User
from audit.models import Event
from controller.spawners.hosted_spawner import Host, HostedSpawner
from controller.spawners.spawn_context import SpawnContext
from servers import credentials
from servers.models import Server
from tests.controller.spawners import get
from tests.factories import make_server, make_token, make_user
from tests.web.conftest import PASSWORD
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


class Loop:
    """An event loop in a thread, as a controller has one beside its database."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(90)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@dataclass
class Place:
    """A hub and one server, on two ports, told apart by path as a proxy does."""

    hub: str
    server: str
    row: Server
    secret: str
    hosted: HostedSpawner

    def url(self, path: str) -> str:
        host = self.hub if path.startswith("/hub/") else self.server
        return urljoin(host, path)


class Visitor(requests.Session):
    """Someone's browser; cookies do not look at ports."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.seen: list[str] = []

    def open(self, path: str, data: Any = None) -> requests.Response:
        """Go to a path and wherever that leads, and note the ways."""
        self.seen = []
        for _ in range(12):
            method = "GET" if data is None else "POST"
            reply = self.request(
                method,
                self.place.url(path),
                data=data,
                allow_redirects=False,
                timeout=30,
            )
            parts = urlsplit(path)
            self.seen.append(f"{method} {parts.path} {reply.status_code}")
            if reply.status_code not in (301, 302):
                return reply
            there = urlsplit(urljoin(path, reply.headers["Location"]))
            path = there._replace(scheme="", netloc="").geturl()
            data = None
        raise AssertionError(self.seen)

    def fill_in(self, reply: requests.Response, **fields: Any) -> requests.Response:
        """Send the first form of a page back to where it came from."""
        found = re.findall(
            r'<input type="hidden" name="([^"]+)" value="([^"]*)"', reply.text
        )
        hidden: dict[str, list[str]] = {}
        for name, value in found:
            hidden.setdefault(name, []).append(unescape(value))
        parts = urlsplit(reply.url)
        path = parts._replace(scheme="", netloc="").geturl()
        self.headers["Referer"] = reply.url
        return self.open(path, {**hidden, **fields})

    def sign_in(self, reply: requests.Response, name: str) -> requests.Response:
        return self.fill_in(reply, username=name, password=PASSWORD)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def fast_imports(tmp_path: Path) -> Path:
    """Spare servers an optional checker of formats that takes seconds to import."""
    folder = tmp_path / "imports"
    folder.mkdir()
    (folder / "rfc3987_syntax.py").write_text("raise ImportError('not in tests')\n")
    return folder


@pytest.fixture
def start(
    live_server: Any, tmp_path: Path, settings: Any, loop: Loop, fast_imports: Path
) -> Iterator[Callable[..., Place]]:
    """Start the server of somebody, as a controller does; it ends with the test."""
    settings.DATA_DIR = tmp_path / "data"
    settings.HUB = replace(settings.HUB, hub_connect_url=live_server.url)
    config = Config()
    config.SimpleLocalProcessSpawner.home_dir_template = f"{tmp_path}/{{username}}"
    config.Spawner.args = ["--allow-root"]
    config.Spawner.environment = {"PYTHONPATH": str(fast_imports)}
    places: list[Place] = []

    def begin(user: User, name: str = "") -> Place:
        row = make_server(user, name, attempt="0a")
        hosted = Host(config, "simple").spawner(SpawnContext.of(row))
        secret = credentials.issue_credentials(row, loop.run(hosted.requested_scopes()))
        url = loop.run(hosted.start(secret))
        Server.objects.filter(pk=row.pk).update(url=url, ready=True)
        place = Place(live_server.url, url, row, secret, hosted)
        places.append(place)
        loop.run(get(f"{url}api", 60))
        return place

    yield begin
    for place in places:
        loop.run(place.hosted.stop())


def opened() -> list[tuple[str, str]]:
    acts = Event.objects.filter(action="server.open")
    return list(acts.values_list("actor_name", "target_name"))


def test_who_gets_into_a_server(start: Callable[..., Place], loop: Loop) -> None:
    alan = make_user("alan", password=PASSWORD)
    make_user("mallory", password=PASSWORD)
    ada = make_user("ada", admin=True, password=PASSWORD)
    place = start(alan, "lab")

    # The owner signs in once, at the hub, and is asked nothing by the server.
    owner = Visitor(place)
    login = owner.open("/user/alan/lab/lab")
    assert owner.seen == [
        "GET /user/alan/lab/lab 302",
        "GET /hub/api/oauth2/authorize 302",
        "GET /hub/login 200",
    ]
    inside = owner.sign_in(login, "alan")
    assert owner.seen[-4:] == [
        "POST /hub/login 302",
        "GET /hub/api/oauth2/authorize 302",
        "GET /user/alan/lab/oauth_callback 302",
        "GET /user/alan/lab/lab 200",
    ]
    assert '"hubUser": "alan"' in inside.text and "JupyterLab" in inside.text
    assert owner.open("/user/alan/lab/api/status").status_code == 200
    assert opened() == []

    # Somebody else is refused by the hub, before the server learns anything.
    stranger = Visitor(place)
    refused = stranger.sign_in(stranger.open("/user/alan/lab/lab"), "mallory")
    assert refused.status_code == 403
    assert stranger.seen[-1] == "GET /hub/api/oauth2/authorize 403"

    # An administrator is asked once, and it is recorded.
    admin = Visitor(place)
    consent = admin.sign_in(admin.open("/user/alan/lab/lab"), "ada")
    assert consent.status_code == 200 and "Authorize" in consent.text
    assert opened() == []
    assert admin.fill_in(consent).status_code == 200
    assert admin.seen[-1] == "GET /user/alan/lab/lab 200"
    assert opened() == [("ada", "alan/lab")]
    again = Visitor(place)
    again.sign_in(again.open("/user/alan/lab/lab"), "ada")
    assert again.seen[-1] == "GET /user/alan/lab/lab 200"

    # Programs come with tokens: one that may reach this server, others that may not.
    def status(secret: str) -> int:
        url = place.url("/user/alan/lab/api/status")
        headers = {"Authorization": f"token {secret}"}
        return requests.get(url, headers=headers, timeout=30).status_code

    _, may = make_token(alan, scopes=["access:servers!server=alan/lab"])
    _, other = make_token(alan, scopes=["access:servers!server=alan/"])
    _, none = make_token(alan, scopes=["read:users!user"])
    _, admins = make_token(ada, scopes=["access:servers!user=alan"])
    found = [status(token) for token in (may, other, none, admins, "nonsense")]
    assert found == [200, 403, 403, 200, 403]
    # What the server itself holds reaches it, too.
    assert status(place.secret) == 200

    # Signing out at the server signs out at the hub, and takes the tokens along.
    sessions = APIToken.objects.filter(client_id="jupyterhub-user-alan-lab", user=alan)
    assert sessions.filter(revoked_at=None).count() == 1
    owner.open("/user/alan/lab/logout")
    assert owner.seen == [
        "GET /user/alan/lab/logout 302",
        "GET /hub/logout 302",
        "GET /hub/login 200",
    ]
    assert not sessions.filter(revoked_at=None).exists()
    owner.open("/user/alan/lab/lab")
    assert owner.seen[-1] == "GET /hub/login 200"

    # With the server its client ends, and what visitors held.
    loop.run(place.hosted.stop())
    credentials.revoke_credentials(place.row)
    assert verify(place.secret) is None
    assert not APIToken.objects.exclude(client_id="").filter(revoked_at=None).exists()
    assert admin.get(place.url("/hub/home"), timeout=30).status_code == 200


def test_server_reports_its_activity(start: Callable[..., Place]) -> None:
    alan = make_user("we ird@x")
    place = start(alan)

    url = place.hosted.spawner.get_env()["JUPYTERHUB_ACTIVITY_URL"]
    reply = requests.post(
        url,
        json={
            "servers": {"": {"last_activity": "2026-01-01T00:00:00Z"}},
            "last_activity": "2026-01-01T00:00:00Z",
        },
        headers={"Authorization": f"token {place.secret}"},
        timeout=30,
    )

    assert reply.status_code == 200
    assert place.hosted.process is not None
    log = place.hosted.process.log.path.read_text()
    assert "JupyterHub" in log and place.secret not in log
