"""Reports of the last activity of users and their servers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from servers.models import Server
from tests.api.test_base import message_of
from tests.conftest import API, BearerClient
from tests.factories import make_server, make_user
from tokens import activity

pytestmark = pytest.mark.django_db

PLACE = f"{API}/users/a/activity"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def reporter(holding: Callable[..., BearerClient]) -> BearerClient:
    make_server(make_user("a"), "lab")
    return holding("users:activity")


def last_activity() -> datetime | None:
    # As all do who read it.
    activity.flush()
    return User.objects.get(name="a").last_activity


def report(client: BearerClient, body: Any) -> int:
    response = client.post(PLACE, body)
    assert response.content == b"" or response.status_code != 200
    return response.status_code


def test_activity_moves_forward_only(reporter: BearerClient) -> None:
    for moment, expected in (
        ("2021-03-04T05:06:07Z", datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)),
        ("2022-01-01T00:00:00Z", datetime(2022, 1, 1, tzinfo=UTC)),
        ("2020-01-01T00:00Z", datetime(2022, 1, 1, tzinfo=UTC)),
    ):
        assert report(reporter, {"last_activity": moment}) == 200
        assert last_activity() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-03-04T05:06:07+02:00", datetime(2021, 3, 4, 3, 6, 7, tzinfo=UTC)),
        ("2021-03-04T05:06:07-0530", datetime(2021, 3, 4, 10, 36, 7, tzinfo=UTC)),
        ("2021-03-04T05:06:07.5", datetime(2021, 3, 4, 5, 6, 7, 500000, tzinfo=UTC)),
        ("2021-03-04 05:06:07", datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)),
        ("2021-03-04", datetime(2021, 3, 4, tzinfo=UTC)),
    ],
)
def test_times_become_utc(
    reporter: BearerClient, text: str, expected: datetime
) -> None:
    report(reporter, {"last_activity": text})

    assert last_activity() == expected


def test_servers_have_activity_of_their_own(reporter: BearerClient) -> None:
    moment = "2021-03-04T05:06:07Z"
    body = {
        "servers": {"lab": {"last_activity": moment}, "": {"last_activity": moment}}
    }

    assert report(reporter, body) == 200
    assert (
        report(reporter, {"servers": {"lab": {"last_activity": "2020-01-01"}}}) == 200
    )

    seen = dict(Server.objects.values_list("name", "last_activity"))
    assert seen == dict.fromkeys(("lab", ""), datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC))
    assert last_activity() is None


def test_nobody_is_not_found_whatever_is_reported(reporter: BearerClient) -> None:
    reply = reporter.post(f"{API}/users/nobody/activity", {})

    assert reply.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        True,
        0,
        "",
        {},
        {"x": 1},
        {"last_activity": None},
        {"last_activity": "yesterday-ish"},
        {"last_activity": ""},
        {"last_activity": 12},
        {"last_activity": ["2021"]},
        {"last_activity": "2999-01-01T00:00:00Z"},
        {"last_activity": "0001-01-01T00:00:00+23:00"},
        {"servers": []},
        {"servers": ["lab"]},
        {"servers": "lab"},
        {"servers": {"lab": {}}},
        {"servers": {"lab": "2021-03-04T05:06:07Z"}},
        {"servers": {"lab": {"last_activity": 1}}},
        {
            "last_activity": "2021-01-01",
            "servers": {"other": {"last_activity": "2021-03-04T05:06:07Z"}},
        },
        {
            "last_activity": "2021-01-01",
            "servers": {"lab": {"last_activity": "never"}},
        },
    ],
)
def test_bad_reports_change_nothing(reporter: BearerClient, body: Any) -> None:
    message_of(reporter.post(PLACE, body), 400)

    assert last_activity() is None
    assert Server.objects.get().last_activity is None


def test_clocks_may_be_a_little_fast(reporter: BearerClient) -> None:
    with time_machine.travel(NOON, tick=False):
        assert report(reporter, {"last_activity": "2026-01-02T12:58:00Z"}) == 200
        assert report(reporter, {"last_activity": "2026-01-02T13:00:00Z"}) == 400


def test_others_are_hidden(holding: Callable[..., BearerClient]) -> None:
    make_user("a")
    body = {"last_activity": "2021-01-01"}

    message_of(holding("users:activity!user=b").post(PLACE, body), 404)
    message_of(holding("read:users").post(PLACE, body), 403)
    assert holding("users:activity!user=a").post(PLACE, body).status_code == 200


def test_nobody_has_no_activity(reporter: BearerClient) -> None:
    body = {"last_activity": "2021-01-01"}

    message_of(reporter.post(f"{API}/users/nobody/activity", body), 404)


def test_own_use_shows_at_once(api: Callable[..., BearerClient]) -> None:
    client = api(make_user("a"))

    with time_machine.travel(NOON, tick=False):
        data = client.get(f"{API}/users/a").json()

    assert data["last_activity"] == "2026-01-02T12:00:00Z"


def test_a_report_shows_at_once(
    reporter: BearerClient, api: Callable[..., BearerClient]
) -> None:
    client = api(User.objects.get(name="a"))
    with time_machine.travel(NOON, tick=False):
        assert report(reporter, {"last_activity": "2026-01-02T12:30:00Z"}) == 200
        for path in (f"{API}/user", f"{API}/users/a"):
            shown = client.get(path).json()["last_activity"]
            assert shown.startswith("2026-01-02T12:30:00")


# Many servers in one report


def many(number: int) -> dict[str, Any]:
    moment = {"last_activity": "2021-03-04T05:06:07Z"}
    return {"servers": {f"server-{n}": moment for n in range(number)}}


def test_a_report_names_a_limited_number_of_servers(reporter: BearerClient) -> None:
    response = reporter.post(PLACE, many(1_001))

    assert response.status_code == 400
    assert "1001 servers are too many" in message_of(response, 400)


def test_a_report_on_unknown_servers_writes_nothing(
    reporter: BearerClient,
) -> None:
    body = many(500) | {"last_activity": "2021-03-04T05:06:07Z"}

    with CaptureQueriesContext(connection) as queries:
        response = reporter.post(PLACE, body)

    assert response.status_code == 400
    assert "No such server 'server-0'" in message_of(response, 400)
    assert not [q for q in queries if q["sql"].startswith(("UPDATE", "INSERT"))]
    assert last_activity() is None


def test_a_large_report_is_written_in_batches(
    reporter: BearerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = User.objects.get(name="a")
    Server.objects.bulk_create(
        Server(user=user, name=f"server-{n}") for n in range(450)
    )

    with CaptureQueriesContext(connection) as queries:
        assert reporter.post(PLACE, many(450)).status_code == 200

    assert sum(q["sql"].startswith("SAVEPOINT") for q in queries) >= 3
    seen = Server.objects.filter(user=user, last_activity__isnull=False)
    assert seen.count() == 450
