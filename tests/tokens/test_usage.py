"""Where, when and for what tokens were used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError
from django.test import Client

from accounts.models import User
from controller.cleanup import REMOVALS
from tests.factories import make_token
from tokens import activity, usage
from tokens.models import APIToken, TokenDay, TokenOperation, TokenUse
from tokens.usage import Collector, Use, collector

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(NOON, tick=False) as travelling:
        yield travelling


def call(
    secret: str,
    path: str = "user",
    method: str = "get",
    address: str = "192.0.2.7",
    agent: str = "curl/8",
) -> int:
    response = getattr(Client(), method)(
        f"/hub/api/{path}",
        headers={"authorization": f"token {secret}", "user-agent": agent},
        REMOTE_ADDR=address,
    )
    return int(response.status_code)


def operations(token: APIToken) -> list[tuple[str, str]]:
    return list(token.operations.values_list("operation", "scope"))


def pairs(token: APIToken) -> list[tuple[str, str]]:
    return list(token.uses.values_list("network", "agent"))


def count(token: APIToken) -> int:
    return sum(token.days.values_list("count", flat=True))


def test_a_request_is_noted_and_the_flush_writes_all_about_it(
    alan: User, clock: Any
) -> None:
    token, secret = make_token(alan, scopes=["read:users!user"])
    assert call(secret, "users/alan") == 200

    activity.flush()

    token.refresh_from_db()
    assert token.last_address == "192.0.2.7"
    assert token.last_agent == "curl/8"
    assert token.last_endpoint == "GET /users/{name}"
    assert pairs(token) == [("192.0.2.0/24", "curl/8")]
    day = token.days.get()
    assert (day.day, day.count, day.last_at) == (date(2030, 1, 1), 1, NOON)
    assert ("GET /users/{name}", "read:users") in operations(token)


def test_an_operation_without_a_scope_is_noted_without_one(
    alan: User, clock: Any
) -> None:
    token, secret = make_token(alan)
    assert call(secret) == 200
    assert not TokenOperation.objects.exists()
    activity.flush()
    assert operations(token) == [("GET /user", "")]


def test_a_change_uses_one_scope_and_a_reading_request_each_that_it_depends_on(
    alan: User, clock: Any
) -> None:
    token, secret = make_token(alan, scopes=["servers!user", "read:users:name!user"])
    assert call(secret, "users/alan") == 200
    activity.flush()
    names = {scope for _, scope in operations(token)}
    assert "read:users:name" in names
    assert "read:users" not in names
    assert "admin:users" not in names


@pytest.mark.parametrize(
    ("path", "method"),
    [("users/ada", "get"), ("users", "post"), ("proxy", "get"), ("user", "post")],
)
def test_a_refused_request_counts_as_a_use_but_uses_no_scope(
    alan: User, clock: Any, path: str, method: str
) -> None:
    token, secret = make_token(alan, scopes=["read:users!user"])
    assert call(secret, path, method) in (403, 404, 405)
    activity.flush()
    token.refresh_from_db()
    assert token.last_address == "192.0.2.7"
    assert token.last_endpoint.startswith(method.upper())
    assert count(token) == 1
    assert operations(token) == []


def test_a_request_costs_no_query_more(
    alan: User, django_assert_num_queries: Any
) -> None:
    _, secret = make_token(alan)
    call(secret)
    with django_assert_num_queries(1):
        call(secret)


def test_a_token_is_written_once_in_a_minute(
    alan: User, clock: Any, django_assert_num_queries: Any
) -> None:
    token, secret = make_token(alan)
    call(secret)
    activity.flush()
    clock.move_to(NOON + timedelta(seconds=29))
    for _ in range(20):
        call(secret, address="198.51.100.1")
    with django_assert_num_queries(0):
        activity.flush()
    assert count(token) == 1

    clock.move_to(NOON + MINUTE)
    activity.flush()

    token.refresh_from_db()
    assert count(token) == 21
    assert token.last_address == "198.51.100.1"
    assert not collector.is_waiting


def note(token: APIToken, at: datetime, address: str, where: Collector) -> None:
    use = Use(token.pk, at.timestamp(), address, "a", "GET /user", "GET /user", ())
    where.note(use)


def write_as(other: Collector, now: datetime) -> None:
    """Write the uses of another process."""
    taken = other.take(now.timestamp())
    other.settle(usage.write(taken, now.timestamp()))


def test_all_processes_together_write_a_token_once_in_a_minute(
    alan: User, clock: Any
) -> None:
    token, _ = make_token(alan)
    first, second = Collector(), Collector()
    note(token, NOON, "192.0.2.1", first)
    note(token, NOON - timedelta(seconds=1), "198.51.100.1", second)

    write_as(first, NOON)
    write_as(second, NOON + timedelta(seconds=1))

    assert count(token) == 1
    assert second.is_waiting
    write_as(second, NOON + timedelta(seconds=59))
    assert count(token) == 1
    write_as(second, NOON + MINUTE)
    assert count(token) == 2
    # The use of the second process was earlier, although it was written later.
    token.refresh_from_db()
    assert token.last_address == "192.0.2.1"


def test_the_end_of_a_process_writes_what_is_left(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    call(secret)
    activity.flush()
    call(secret)
    activity.stop()
    assert count(token) == 2


def test_uses_that_could_not_be_written_are_written_later(
    alan: User, clock: Any, monkeypatch: Any
) -> None:
    token, secret = make_token(alan)
    call(secret)

    def fail(*args: Any, **keywords: Any) -> None:
        raise DatabaseError

    with monkeypatch.context() as patched:
        patched.setattr("tokens.usage._write_last", fail)
        activity.flush()
    assert count(token) == 0
    call(secret)
    activity.flush()
    assert count(token) == 2


def test_the_latest_five_networks_and_agents_are_kept(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    for number in range(9):
        call(secret, address=f"10.0.{number}.1", agent=f"agent {number}")
        clock.move_to(NOON + (number + 1) * MINUTE)
        if number in (2, 5):
            activity.flush()
    activity.flush()
    assert pairs(token) == [
        (f"10.0.{number}.0/24", f"agent {number}") for number in (8, 7, 6, 5, 4)
    ]


def test_the_first_use_of_a_pair_stays_known(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    call(secret)
    activity.flush()
    clock.move_to(NOON + 2 * MINUTE)
    call(secret)
    activity.flush()
    use = token.uses.get()
    assert (use.first_at, use.last_at) == (NOON, NOON + 2 * MINUTE)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.200", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:192.0.2.9", "192.0.2.0/24"),
    ],
)
def test_networks_are_of_customers(
    alan: User, clock: Any, address: str, network: str
) -> None:
    token, secret = make_token(alan)
    call(secret, address=address)
    activity.flush()
    assert pairs(token) == [(network, "curl/8")]


def test_an_unknown_address_is_no_network(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    call(secret, address="")
    activity.flush()
    assert pairs(token) == []
    assert count(token) == 1


def test_names_of_programs_are_cut_and_cleaned(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    call(secret, agent=f"a\x00b\x1b[31m \r\n c {secret} " + "x" * 5000)
    activity.flush()
    token.refresh_from_db()
    assert token.last_agent.startswith("a b [31m c ")
    assert secret not in token.last_agent
    assert len(token.last_agent) <= 255


def test_each_day_has_its_count(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    clock.move_to(datetime(2030, 1, 1, 23, 59, 50, tzinfo=UTC))
    call(secret)
    clock.move_to(datetime(2030, 1, 2, 0, 0, 5, tzinfo=UTC))
    call(secret)
    call(secret)
    activity.flush()
    assert list(token.days.values_list("day", "count")) == [
        (date(2030, 1, 1), 1),
        (date(2030, 1, 2), 2),
    ]


def test_uses_of_a_deleted_token_are_dropped(alan: User, clock: Any) -> None:
    token, secret = make_token(alan)
    call(secret)
    token.delete()
    activity.flush()
    assert not TokenDay.objects.exists()
    assert not collector.is_waiting


def test_memory_is_bounded(alan: User, monkeypatch: Any, caplog: Any) -> None:
    token, _ = make_token(alan)
    monkeypatch.setattr(usage, "QUEUE", 10)
    for _ in range(15):
        note(token, NOON, "192.0.2.1", collector)
    assert len(collector.queue) == 10
    activity.flush()
    assert count(token) == 10
    assert "5 uses of tokens were not counted" in caplog.text


def test_tokens_in_memory_are_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(usage, "MEMORY", 3)
    held = Collector()
    for pk in range(1, 9):
        held.note(Use(pk, 1.0, "", "", "", "", ()))
    held.sort()
    assert len(held.pending) == 3


def test_old_rows_and_rows_without_a_token_are_deleted(alan: User) -> None:
    token, _ = make_token(alan)
    today = NOON.date()
    for back in (0, 29, 31):
        TokenDay.objects.create(token=token, day=today - timedelta(days=back), count=1)
        TokenOperation.objects.create(
            token=token, operation=f"GET /{back}", last_at=NOON - timedelta(days=back)
        )
    for model, columns in (
        (TokenUse, {"network": "192.0.2.0/24"}),
        (TokenDay, {"day": today}),
        (TokenOperation, {"operation": "GET /user"}),
    ):
        model._default_manager.create(token_id=token.pk + 999, **columns)
    TokenUse.objects.create(token=token, network="192.0.2.0/24")

    assert REMOVALS["rows of usage"](NOON) == 5

    assert token.days.count() == 2
    assert token.operations.count() == 2
    assert token.uses.count() == 1
    assert set(TokenDay.objects.values_list("token", flat=True)) == {token.pk}
    assert REMOVALS["rows of usage"](NOON) == 0


def test_the_page_suggests_the_scopes_that_were_used(alan: User, clock: Any) -> None:
    """What the page proposes is enough for the requests that were made."""
    scopes = ["servers!user", "read:users!user", "tokens!user"]
    token, secret = make_token(alan, scopes=scopes)
    assert call(secret, "users/alan/tokens") == 200
    activity.flush()
    assert {scope for _, scope in operations(token)} == {"read:tokens"}
