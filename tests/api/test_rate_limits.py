"""The limits of a token: its networks, and its requests in a minute."""

from __future__ import annotations

from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from tests.conftest import API, BearerClient
from tests.factories import BY, make_token
from tokens import rates
from tokens.actions.changes import set_limits
from tokens.models import APIToken, TokenRate

pytestmark = pytest.mark.django_db

# The beginning of a minute.
NOW = 1_800_000_000 - 1_800_000_000 % 60


def test_a_token_is_refused_beyond_its_limit_until_the_minute_ends(alan: User) -> None:
    client = BearerClient(make_token(alan, rate_limit=2)[1])

    with time_machine.travel(NOW + 10, tick=False) as clock:
        first, second, third = (client.get(f"{API}/user") for _ in range(3))
        clock.move_to(NOW + 60)
        later = client.get(f"{API}/user")

    assert [reply.status_code for reply in (first, second, third)] == [200, 200, 429]
    assert first["RateLimit-Policy"] == '"token";q=2;w=60'
    assert first["RateLimit"] == '"token";r=1;t=50'
    assert second["RateLimit"] == '"token";r=0;t=50'
    assert third["RateLimit"] == '"token";r=0;t=50'
    assert third["Retry-After"] == "50"
    assert "2 requests in a minute" in third.json()["message"]
    assert later.status_code == 200
    assert later["RateLimit"] == '"token";r=1;t=60'


def test_a_token_without_a_limit_costs_no_query_and_gets_no_headers(alan: User) -> None:
    client = BearerClient(make_token(alan)[1])
    client.get(f"{API}/user")

    with CaptureQueriesContext(connection) as queries:
        reply = client.get(f"{API}/user")

    assert not any("tokenrate" in query["sql"] for query in queries)
    assert not {"RateLimit", "RateLimit-Policy", "Retry-After"} & set(reply.headers)
    assert not TokenRate.objects.exists()


def test_refused_requests_count_too(alan: User) -> None:
    client = BearerClient(make_token(alan, rate_limit=1)[1])

    with time_machine.travel(NOW, tick=False):
        statuses = [client.get(f"{API}/groups").status_code for _ in range(2)]

    assert statuses == [403, 429]


def test_only_the_token_with_the_limit_is_limited(alan: User) -> None:
    limited = BearerClient(make_token(alan, rate_limit=1)[1])
    other = BearerClient(make_token(alan, rate_limit=9)[1])

    with time_machine.travel(NOW, tick=False):
        assert [limited.get(f"{API}/user").status_code for _ in range(2)] == [200, 429]
        assert other.get(f"{API}/user").status_code == 200


def test_processes_share_one_count(alan: User) -> None:
    token, _ = make_token(alan, rate_limit=3)
    used = []

    for _ in range(5):
        # A process that has counted nothing yet.
        rates.forget()
        used.append(rates.count(token.pk, 3, NOW).used)

    assert used == [1, 2, 3, 4, 5]


def test_a_high_limit_costs_a_statement_for_a_hundredth_of_it(alan: User) -> None:
    token, _ = make_token(alan, rate_limit=1_000)

    with CaptureQueriesContext(connection) as queries:
        made = [rates.count(token.pk, 1_000, NOW + 0.001 * n) for n in range(1_200)]

    assert len(queries) <= 102
    assert sum(not rate.is_exceeded for rate in made) == 1_000


def test_two_processes_exceed_a_limit_by_little(
    alan: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = make_token(alan, rate_limit=1_000)
    memories: list[dict[int, Any]] = [{}, {}]
    allowed = 0

    for number in range(3_000):
        monkeypatch.setattr(rates, "_counts", memories[number % 2])
        allowed += not rates.count(token.pk, 1_000, NOW + 0.001 * number).is_exceeded

    assert 1_000 <= allowed <= 1_020


def test_a_database_that_refuses_counts_lets_requests_through(
    alan: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise DatabaseError("read only")

    token, _ = make_token(alan)
    monkeypatch.setattr(rates.connection, "cursor", refuse)

    made = [rates.count(token.pk, 2, NOW).is_exceeded for _ in range(3)]

    assert made == [False, False, True]


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MEMORY", 3)
    for number in range(5):
        rates.count(number + 1, 1, NOW)

    assert len(rates._counts) == 3
    TokenRate.objects.all().delete()


def test_a_changed_limit_counts_at_the_next_request(alan: User) -> None:
    token, secret = make_token(alan, rate_limit=1)
    client = BearerClient(secret)

    with time_machine.travel(NOW, tick=False):
        assert client.get(f"{API}/user").status_code == 200
        set_limits(token, networks=None, rate_limit=5, by=BY)
        assert client.get(f"{API}/user")["RateLimit"] == '"token";r=3;t=60'


def test_a_deleted_token_takes_its_count_with_it(alan: User) -> None:
    token, _ = make_token(alan, rate_limit=1)
    rates.count(token.pk, 1, NOW)

    APIToken.objects.filter(pk=token.pk).delete()

    assert not TokenRate.objects.exists()


def test_a_wrong_network_is_named_to_the_right_secret_only(alan: User) -> None:
    _, secret = make_token(alan, networks=["192.0.2.0/24"], rate_limit=9)
    wrong = secret[:-8] + (
        "AAAAAAAA" if not secret.endswith("AAAAAAAA") else "BBBBBBBB"
    )

    here = BearerClient(secret).get(f"{API}/user")
    there = BearerClient(secret).get(f"{API}/user", REMOTE_ADDR="192.0.2.9")
    forged = BearerClient(wrong).get(f"{API}/user")
    invented = BearerClient("no-such-token-at-all").get(f"{API}/user")

    assert here.status_code == 403
    assert (
        "192.0.2.0/24 only, and this request comes from 127.0.0.1"
        in here.json()["message"]
    )
    assert there.status_code == 200
    assert forged.json() == invented.json()
    assert forged.status_code == 403
    assert "192.0.2" not in forged.content.decode()


def test_the_end_of_a_minute_suggests_no_burst() -> None:
    """A client may divide what is left by the seconds that are left."""
    assert rates.Rate(600, 2, 42).headers["RateLimit"] == '"token";r=598;t=42'
    assert rates.Rate(600, 2, 1).headers["RateLimit"] == '"token";r=100;t=1'
    assert rates.Rate(2, 0, 1).headers["RateLimit"] == '"token";r=1;t=1'
    assert rates.Rate(600, 601, 1).headers["RateLimit"] == '"token";r=0;t=1'
