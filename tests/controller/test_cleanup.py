"""Read activity from the proxy, and delete expired rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import SignUp, User
from accounts.sign_up_actions import purge_sign_ups
from controller import cleanup as housekeeping
from controller.cleanup import raise_activity, read_uses
from controller.proxy.client import ProxyError
from oauth.models import DeviceRequest, OAuthCode
from servers.models import Server, ServerEvent, ShareCode
from tests.controller.site import Site, until
from tests.factories import make_client, make_server, make_token, make_user, make_users
from tokens.actions.revocation import purge_expired
from tokens.leaks import purge_reports
from tokens.models import APIToken, LeakReport, TokenDay, TokenNotice
from tokens.notices import purge_notices
from tokens.usage import purge_usage

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Here:
    """A controller as far as it is needed: it asks the database at once."""

    def __init__(self) -> None:
        # What each transaction returned.
        self.written: list[Any] = []

    async def ask(self, do: Callable[..., Any], *args: Any) -> Any:
        return await sync_to_async(do)(*args)

    async def write(self, do: Callable[..., Any], *args: Any) -> Any:
        self.written.append(await self.ask(do, *args))
        return self.written[-1]


def tidy(now: datetime, here: Here | None = None) -> dict[str, int]:
    """Remove what is over, as a controller does from time to time."""
    remove = async_to_sync(housekeeping.remove)
    controller: Any = here or Here()
    return {kind: remove(controller, kind, now) for kind in housekeeping.REMOVALS}


def moment(model: Any, **which: Any) -> datetime | None:
    return model.objects.values_list("last_activity", flat=True).get(**which)


def active(user: User, name: str = "", **fields: Any) -> Server:
    return make_server(user, name, wanted="running", ready=True, **fields)


# Activity


def test_reads_uses_from_what_the_proxy_lists() -> None:
    routes = [
        {"hub": True, "last_activity": "2026-11-23T12:00:00.000Z"},
        {"user": "ada", "server_name": "", "last_activity": "2026-11-23T12:00:00.5Z"},
        {"user": "ada", "server_name": "lab", "last_activity": "2026-11-23T12:01:00Z"},
        {"user": "ada", "server_name": "x", "last_activity": "yesterday"},
        {"user": "ada", "server_name": "y"},
        {"service": "grader", "last_activity": "2026-11-23T12:00:00Z"},
    ]

    assert list(read_uses(routes)) == [
        ("ada", "", NOON + timedelta(seconds=0.5)),
        ("ada", "lab", NOON + timedelta(minutes=1)),
    ]


def test_activity_moves_forward_and_never_back(ada: User, alan: User) -> None:
    later = NOON + timedelta(hours=1)
    active(ada, last_activity=NOON)
    active(ada, "lab", last_activity=later)
    active(alan, last_activity=None)
    User.objects.filter(pk=ada.pk).update(last_activity=later)

    minute = NOON + timedelta(minutes=1)
    raise_activity(
        [
            ("ada", "", minute),
            ("ada", "lab", minute),
            ("ada", "gone", minute),
            ("alan", "", minute),
            ("nobody", "", minute),
        ]
    )

    assert moment(Server, user=ada, name="") == minute
    assert moment(Server, user=ada, name="lab") == later
    assert moment(Server, user=alan) == minute
    assert moment(User, pk=ada.pk) == later
    assert moment(User, pk=alan.pk) == minute


def test_owner_was_active_when_any_of_the_servers_was(alan: User) -> None:
    active(alan, "a")
    active(alan, "b")

    minute = timedelta(minutes=1)
    raise_activity([("alan", "a", NOON + minute), ("alan", "b", NOON)])

    assert moment(User, pk=alan.pk) == NOON + minute


def test_many_cost_as_many_queries_as_few() -> None:
    users = make_users(200)
    for user in users:
        active(user)

    def queries(number: int, used: datetime) -> int:
        with CaptureQueriesContext(connection) as captured:
            raise_activity([(user.name, "", used) for user in users[:number]])
        return len(captured)

    few = queries(2, NOON)
    assert queries(200, NOON + timedelta(minutes=1)) == few
    assert not Server.objects.exclude(last_activity=NOON + timedelta(minutes=1))


def test_stores_activity_of_the_proxy_and_continues_without_it(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    active(ada)

    class Proxy:
        def routes(self) -> dict[str, Any]:
            used = {"user": "ada", "server_name": "", "last_activity": NOON.isoformat()}
            return {"/user/ada": used}

    class Silent:
        def routes(self) -> dict[str, Any]:
            raise ProxyError("nobody is there")

    monkeypatch.setattr(housekeeping, "BATCH", 1)
    for proxy in (Silent, Proxy):
        monkeypatch.setattr(housekeeping, "proxy", proxy)
        async_to_sync(housekeeping.note_activity)(Here())

    assert moment(Server, user=ada) == NOON


# What is over


def test_removes_what_is_over_and_nothing_else(ada: User, alan: User) -> None:
    now = timezone.now()
    hour, years = timedelta(hours=1), timedelta(days=800)
    token, _ = make_token(ada, expires_in=60)
    kept_token, _ = make_token(ada)
    type(token).objects.filter(pk=token.pk).update(expires_at=now - years)
    client = make_client()
    for moment in (now - years, now):
        TokenDay.objects.create(token=kept_token, day=moment.date(), count=1)
        TokenNotice.objects.create(token=kept_token, kind="frozen", at=moment)
        LeakReport.objects.create(received=moment, size=1, body=b"", handled_at=moment)
    for sign in (-1, 1):
        DeviceRequest.objects.create(
            **{"handle": str(sign), "user_handle": str(sign), "program": "hub-token"},
            expires_at=now + sign * hour,
        )
        OAuthCode.objects.create(
            handle=str(sign), client=client, user=ada, expires_at=now + sign * hour
        )
        ShareCode.objects.create(
            server=make_server(ada, f"s{sign}"),
            public_id=str(sign),
            expires_at=now + sign * hour,
        )
        Session.objects.create(
            session_key=f"key{sign}", session_data="", expire_date=now + sign * hour
        )
    for key in ("key1", "key-1", "new"):
        begun = now if key == "new" else now - 2 * hour
        UserSession.objects.create(
            user=ada, ip="127.0.0.1", session_key=key, user_agent="", created_at=begun
        )
    for state, decided in (
        *(("refused", now - years), ("refused", now)),
        ("pending", None),
    ):
        SignUp.objects.create(name="eve", state=state, decided_at=decided)
    stopped, running = make_server(alan, "old"), active(alan, "on")
    for server in (stopped, running):
        for created in (now - years, now):
            ServerEvent.objects.create(
                server=server, generation=1, data={}, created=created
            )

    removed = tidy(now)

    assert removed == {
        "tokens": 1,
        "rows of usage": 1,
        "notices of tokens": 1,
        "reports of leaks": 1,
        "sign-ups": 1,
        "codes": 1,
        "requests of devices": 1,
        "invitations": 1,
        "entries of sessions": 1,
        "sessions": 1,
        "events": 1,
    }
    assert list(type(token).objects.all()) == [kept_token]
    assert LeakReport.objects.get().received == now
    assert OAuthCode.objects.get().handle == "1"
    assert DeviceRequest.objects.get().handle == "1"
    assert ShareCode.objects.get().public_id == "1"
    assert Session.objects.get().session_key == "key1"
    assert set(UserSession.objects.values_list("session_key", flat=True)) == {
        "key1",
        "new",
    }
    assert ServerEvent.objects.count() == 3
    assert SignUp.objects.count() == 2
    assert not any(tidy(now).values())


def test_a_session_in_use_survives(ada: User) -> None:
    store = SessionStore()
    store["who"] = make_user().name
    store.save()

    tidy(timezone.now())

    assert SessionStore(store.session_key)["who"]


@pytest.mark.parametrize("kind", housekeeping.REMOVALS)
def test_removes_little_at_once(
    ada: User, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    past = now - timedelta(days=800)
    client, server = make_client(), make_server(ada)
    for number in range(5):
        token, _ = make_token(ada)
        TokenDay.objects.create(token=token, day=past.date(), count=1)
        TokenNotice.objects.create(token=token, kind="frozen", at=past)
        LeakReport.objects.create(received=past, size=1, body=b"", handled_at=past)
        SignUp.objects.create(name="eve", state="approved", decided_at=past)
        DeviceRequest.objects.create(
            **{"handle": f"{number}", "user_handle": f"{number}", "expires_at": past}
        )
        OAuthCode.objects.create(
            handle=str(number), client=client, user=ada, expires_at=past
        )
        ShareCode.objects.create(server=server, public_id=str(number), expires_at=past)
        Session.objects.create(
            session_key=f"key{number}", session_data="", expire_date=past
        )
        UserSession.objects.create(
            **{"user": ada, "ip": "127.0.0.1", "user_agent": ""},
            **{"session_key": f"key{number}", "created_at": past},
        )
        ServerEvent.objects.create(server=server, generation=1, data={}, created=past)
    APIToken.objects.update(expires_at=past)
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    monkeypatch.setitem(
        housekeeping.REMOVALS,
        "tokens",
        partial(purge_expired, by=housekeeping.BY, most=2),
    )
    monkeypatch.setitem(
        housekeeping.REMOVALS, "reports of leaks", partial(purge_reports, most=2)
    )
    monkeypatch.setitem(
        housekeeping.REMOVALS, "rows of usage", partial(purge_usage, most=2)
    )
    monkeypatch.setitem(
        housekeeping.REMOVALS, "notices of tokens", partial(purge_notices, most=2)
    )
    monkeypatch.setitem(
        housekeeping.REMOVALS, "sign-ups", partial(purge_sign_ups, most=2)
    )
    here = Here()

    async_to_sync(housekeeping.remove)(here, kind, now)

    assert here.written == [2, 2, 1, 0]


# A real controller


def test_a_controller_asks_the_proxy_when_servers_were_used(site: Site) -> None:
    site.configure(lines="c.JupyterHub.last_activity_interval = 1")
    site.controller()
    site.start()
    assert site.settled().ready
    used = timezone.now() + timedelta(minutes=1)

    def noted() -> bool:
        for route in site.proxy.routes.values():
            route["last_activity"] = used.isoformat().replace("+00:00", "Z")
        return site.row().last_activity == used

    until(noted)

    assert moment(User, name="alan") == used
