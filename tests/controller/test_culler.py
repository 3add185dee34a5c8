"""The built-in culler decides like the external one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import jupyterhub_idle_culler
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from controller import culler
from hubsite.config.hub_config import HubConfig
from servers.models import Server
from tests.conftest import API
from tests.controller.site import Site, until
from tests.factories import make_server, make_service, make_token, make_user

pytestmark = pytest.mark.django_db
NOW = timezone.now()
LOG = logging.getLogger("external")


class Here:
    """A controller as far as the culler needs one: it asks the database at once."""

    async def ask(self, do: Callable[..., Any], *args: Any) -> Any:
        return await sync_to_async(do)(*args)

    write = ask


def ago(**times: int) -> datetime:
    return NOW - timedelta(**times)


@pytest.fixture
def world() -> None:
    """Servers and users in every condition that a culler tells apart."""
    quiet, busy = ago(hours=2), ago(minutes=5)
    for name, used in (("idle", quiet), ("busy", busy), ("edge", ago(seconds=3600))):
        for server in ("", "lab"):
            user = make_user(f"{name}-{server}", last_activity=used, created=quiet)
            run_server(user, server, started=quiet, last_activity=used)
    for name, started in (("unused", quiet), ("fresh", busy)):
        user = make_user(name, last_activity=started, created=quiet)
        run_server(user, started=started, last_activity=None)
    both = make_user("both", last_activity=busy, created=ago(days=3))
    run_server(both, started=ago(days=2), last_activity=busy)
    run_server(both, "lab", started=quiet, last_activity=quiet)
    for pending in ("spawn", "stop", "check"):
        user = make_user(pending, last_activity=quiet, created=quiet)
        make_server(
            user, generation=1, pending=pending, started=quiet, last_activity=quiet
        )
    for name, created in (("gone", ago(days=2)), ("new", busy), ("old", ago(days=30))):
        make_user(name, last_activity=None, created=created)
    make_user("boss", admin=True, last_activity=quiet, created=quiet)
    make_user("chief", admin=True, last_activity=busy, created=quiet)
    make_server(make_user("stopped", last_activity=quiet, created=quiet), "lab")


def run_server(user: User, name: str = "", **fields: Any) -> Server:
    return make_server(user, name, wanted="running", ready=True, **fields)


def decide(settings: Any, **options: Any) -> tuple[set[str], set[str]]:
    """Return which servers our culler stops and which users it deletes."""
    hub = HubConfig(
        allow_named_servers=True,
        **{f"cull_{name.removeprefix('cull_')}": v for name, v in options.items()},
    )
    settings.HUB = hub
    servers = {
        str(server) for server in culler.idle_servers(NOW).select_related("user")
    }
    # Of users, those count whose servers are stopped by then.
    culler.stop_idle(culler.idle_ids(NOW), NOW)
    Server.objects.filter(pending="stop", wanted="stopped", generation=1).exclude(
        user__name="stop"
    ).update(pending=None, settled=1)
    users = culler.idle_users(NOW) if hub.cull_users else User.objects.none()
    return servers, {user.name for user in users}


@pytest.fixture
def decide_elsewhere(
    bearer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[set[str], set[str]]]:
    """Return what asks the external culler to decide, on what our API tells it."""

    def decide(**options: Any) -> tuple[set[str], set[str]]:
        client = bearer(make_token(make_service("culler", admin=True))[1])
        paged = {"accept": "application/jupyterhub-pagination+json"}
        told = {"/": client.get(f"{API}/").json()}
        for state in ("inactive", "ready"):
            path = f"/users?state={state}"
            told[path] = client.get(f"{API}{path}&limit=200", headers=paged).json()
        asked: list[str] = []

        class Answer:
            code = 204

            def __init__(self, told: Any) -> None:
                self.body = json.dumps(told).encode()

        class Client:
            @classmethod
            def configure(cls, *args: Any, **options: Any) -> None:
                """Nothing is fetched over the network."""

            async def fetch(self, request: Any) -> Answer:
                path = request.url.removeprefix("http://hub")
                if request.method == "DELETE":
                    asked.append(unquote(path.removeprefix("/users/")))
                    return Answer({})
                return Answer(told[path])

        monkeypatch.setattr(jupyterhub_idle_culler, "AsyncHTTPClient", Client)
        monkeypatch.setattr(jupyterhub_idle_culler, "utcnow", lambda: NOW)
        asyncio.run(
            jupyterhub_idle_culler.cull_idle(
                "http://hub", "", options.pop("idle_timeout"), LOG, **options
            )
        )
        servers = {path for path in asked if "/" in path}
        named = {path.replace("/servers/", "/") for path in servers}
        return (
            {path.removesuffix("server") for path in named},
            {path for path in asked if "/" not in path},
        )

    return decide


OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "only default ones": {"cull_named_servers": False},
    "only named ones": {"cull_default_servers": False},
    "too old": {"max_age": 86400},
    "too old, whatever their name": {"max_age": 86400, "cull_default_servers": False},
    "users as well": {"cull_users": True},
    "users but administrators": {"cull_users": True, "cull_admin_users": False},
    "users that are too old": {"cull_users": True, "max_age": 86400},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_decides_as_the_external_culler(
    world: None, decide_elsewhere: Any, settings: Any, options: dict[str, Any]
) -> None:
    theirs = decide_elsewhere(idle_timeout=3600, **options)
    ours = decide(settings, idle_timeout=3600, **options)

    assert ours == theirs
    assert ours[0]


def test_keeps_administrators_whatever_their_age(world: None, settings: Any) -> None:
    options = {"idle_timeout": 600, "max_age": 60, "cull_users": True}

    _, users = decide(settings, **options, cull_admin_users=False)

    assert "old" in users
    assert not users & {"boss", "chief"}


def test_culls_nothing_by_default(world: None, settings: Any) -> None:
    assert decide(settings) == (set(), set())
    assert culler.interval() == 0
    async_to_sync(culler.run)(Here())


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"cull_idle_timeout": 600}, 300),
        ({"cull_idle_timeout": 600, "cull_every": 10}, 10),
        ({"cull_max_age": 86400}, 43200),
        ({"cull_idle_timeout": 3600, "cull_max_age": 60}, 30),
    ],
)
def test_checks_at_half_the_timeout_by_default(
    settings: Any, options: dict[str, int], seconds: float
) -> None:
    settings.HUB = HubConfig(**options)
    assert culler.interval() == seconds


def test_spares_what_was_used_meanwhile(world: None, settings: Any) -> None:
    settings.HUB = HubConfig(cull_idle_timeout=3600)
    ids = culler.idle_ids(NOW)
    Server.objects.filter(user__name="idle-").update(last_activity=NOW)

    stopped = culler.stop_idle(ids, NOW)

    assert Server.objects.get(user__name="idle-").ready
    assert len(stopped) == len(ids) - 1


def test_stops_a_few_at_a_time_in_its_own_name(
    world: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HUB = HubConfig(
        allow_named_servers=True,
        cull_idle_timeout=3600,
        cull_concurrency=2,
        cull_remove_named_servers=True,
        cull_users=True,
    )
    monkeypatch.setattr(culler, "GLANCE", 0)
    stopping: list[int] = []

    class Stopping(Here):
        """Has servers stop as soon as somebody looks whether they have."""

        async def ask(self, do: Callable[..., Any], *args: Any) -> Any:
            if do is culler._still_active:
                await super().ask(settle, *args)
            return await super().ask(do, *args)

    def settle(ids: list[int]) -> None:
        asked = Server.objects.filter(pk__in=ids)
        stopping.append(asked.filter(pending="stop").count())
        asked.filter(remove_when_stopped=True).delete()
        asked.update(pending=None, settled=F("generation"))

    monkeypatch.setattr(culler.timezone, "now", lambda: NOW)
    async_to_sync(culler.cull)(Stopping())

    assert stopping
    assert max(stopping) == 2
    assert not culler.idle_servers(NOW).exists()
    assert not Server.objects.filter(user__name__in=["idle-lab", "edge-lab"]).exists()
    assert Server.objects.get(user__name="both", name="").ready
    assert not User.objects.filter(name__in=["idle-", "gone", "boss"]).exists()
    assert User.objects.filter(name__in=["busy-", "spawn", "new"]).count() == 3
    acts = Event.objects.filter(actor_kind="system", actor_name="culler")
    assert {"server.stop", "user.delete"} <= set(acts.values_list("action", flat=True))


def test_a_controller_stops_what_is_idle(site: Site) -> None:
    site.configure(lines="c.Hub.cull_idle_timeout = 2; c.Hub.cull_every = 1")
    site.controller()
    site.start()
    assert site.settled().ready

    until(lambda: not site.row().is_active)

    assert site.processes() == []
    assert Event.objects.get(action="server.stop").actor_name == "culler"
