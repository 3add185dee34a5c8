"""Uses of tokens are events of the audit log, if the configuration says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection

from accounts.models import User
from audit import uses
from audit.actions import WITHHELD
from audit.chain import public_keys
from audit.models import Actor, Event
from audit.sealing import seal_events
from audit.verification import verify_database
from hubsite.config.values import token_use
from tests.conftest import API
from tests.factories import make_token

pytestmark = pytest.mark.django_db
BY = Actor("user", "ada", token_id=7, address="192.0.2.1")


@pytest.fixture
def recorded(settings: Any) -> Callable[[str | int], None]:
    def choose(which: str | int) -> None:
        settings.HUB = replace(settings.HUB, audit_token_use=which)

    return choose


def events() -> list[Event]:
    return list(Event.objects.filter(action="token.use").order_by("pk"))


def test_no_use_is_recorded_by_default(ada: User, bearer: Any) -> None:
    bearer(make_token(ada)[1]).get(f"{API}/user")

    assert uses.flush() == 0
    assert events() == []


def test_every_use_is_recorded(ada: User, bearer: Any, recorded: Any) -> None:
    recorded("complete")
    token, secret = make_token(ada)
    client = bearer(secret)
    client.get(f"{API}/user?x=1", headers={"user-agent": "curl/8"})
    client.get(f"{API}/users/nobody")
    client.post(f"{API}/groups/none", {})
    for other in (bearer(None), bearer("hub_" + "x" * 70)):
        other.get(f"{API}/user")
    assert events() == []

    assert uses.flush() == 3

    first, second, third = events()
    assert (first.actor_kind, first.actor_name) == ("user", "ada")
    assert (first.token_id, first.address) == (token.pk, "127.0.0.1")
    assert first.target == f"token a{token.pk}"
    assert first.sentence == f"ada used token a{token.pk}"
    assert first.detail == {
        **{"method": "GET", "path": f"{API}/user", "status": 200},
        "agent": "curl/8",
    }
    assert [event.detail["status"] for event in (second, third)] == [404, 201]
    assert first.at < second.at < third.at


def test_a_request_writes_no_event_itself(
    ada: User, bearer: Any, recorded: Any, django_assert_num_queries: Any
) -> None:
    client = bearer(make_token(ada)[1])
    client.get(f"{API}/user")
    for which in ("off", "complete", 5):
        recorded(which)
        with django_assert_num_queries(1):
            client.get(f"{API}/user")


def test_one_use_in_so_many_of_each_token_is_recorded(recorded: Any) -> None:
    recorded(3)
    for token_id, number in ((7, 7), (8, 1)):
        for _ in range(number):
            uses.note(replace(BY, token_id=token_id), "GET", "/x", 200, "")

    assert uses.flush() == 4
    assert [event.token_id for event in events()] == [7, 7, 7, 8]
    assert {event.detail["one_in"] for event in events()} == {3}


def test_secrets_in_addresses_are_withheld(recorded: Any) -> None:
    recorded("complete")
    uses.note(BY, "GET", "/x/" + "0123456789abcdef" * 4, 200, "me")
    uses.flush()

    assert events()[0].detail["path"] == f"/x/{WITHHELD}"


def test_long_texts_are_cut_off(recorded: Any) -> None:
    recorded("complete")
    uses.note(BY, "GET", "/" * 5_000, 200, "a" * 5_000)
    uses.flush()

    detail = events()[0].detail
    assert (len(detail["path"]), len(detail["agent"])) == (200, 200)


def test_uses_are_kept_until_they_can_be_written(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded("complete")
    for number in range(3):
        uses.note(BY, "GET", f"/{number}", 200, "")

    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("locked")

    with monkeypatch.context() as patch:
        patch.setattr(Event.objects, "bulk_create", fail)
        assert uses.flush() == 0

    assert uses.flush() == 3
    assert [event.detail["path"] for event in events()] == ["/0", "/1", "/2"]


def test_uses_beyond_the_queue_are_counted(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded("complete")
    monkeypatch.setattr(uses, "QUEUE", 2)
    for _ in range(5):
        uses.note(BY, "GET", "/", 200, "")

    assert uses.flush() == 2

    lost = Event.objects.get(action="token.use_lost")
    assert lost.detail == {"number": 3}
    uses.flush()
    assert Event.objects.count() == 3


def test_uses_are_sealed_like_all_events(recorded: Any) -> None:
    recorded("complete")
    for _ in range(5):
        uses.note(BY, "GET", "/", 200, "")
    uses.flush()
    seal_events()

    report = verify_database(public_keys())
    assert report.is_intact
    assert report.events == 5


@pytest.fixture
def running(recorded: Any, transactional_db: None) -> Iterator[None]:
    recorded("complete")
    uses.start(interval=0.01)
    yield
    uses.stop()


@pytest.mark.django_db(transaction=True)
def test_a_thread_writes_them_and_the_end_of_the_process_the_rest(
    running: None,
) -> None:
    uses.note(BY, "GET", "/", 200, "")
    uses.stop()

    assert len(events()) == 1
    connection.close()


def test_without_the_setting_there_is_no_thread() -> None:
    uses.start()

    assert "token uses" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        *(("off", "off"), ("complete", "complete"), (100, 100)),
        *((0, "off"), (1, "complete")),
    ],
)
def test_the_setting_has_three_forms(value: Any, kept: Any) -> None:
    assert token_use(value) == kept


@pytest.mark.parametrize("value", [True, -1, 1.5, "all", None, [], ["off"]])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="'off', 'complete' or a whole number"):
        token_use(value)
