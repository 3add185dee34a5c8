"""POST /tokens/leaked: what is accepted, what it reveals, and its limits."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import API
from tests.factories import make_token
from tokens import digests, format, leaks
from tokens.leaks import MOST, MOST_WAITING, PER_HOUR
from tokens.models import Leak, LeakReport

pytestmark = pytest.mark.django_db

PATH = f"{API}/tokens/leaked"


def forged() -> str:
    return format.generate("hub", [b"another hub's key"])[0]


def handle() -> int:
    """Do what the controller does with each report."""
    number = 0
    while report := leaks.next_report():
        number += leaks.end_leaked(report, leaks.find_leaked(report))
    return number


def test_a_posted_token_is_revoked(bearer: Any, mallory: Any) -> None:
    token, secret = make_token(mallory)

    reply = bearer(None).post(PATH, {"credentials": [secret, forged()]})

    assert reply.status_code == 202
    assert handle() == 1
    assert bearer(secret).get(f"{API}/user").status_code == 403
    token.refresh_from_db()
    assert token.revoked_by == "a leak report"
    assert Leak.objects.get().token == token


def test_reports_of_secret_scanning_name_the_place(bearer: Any, mallory: Any) -> None:
    _, secret = make_token(mallory)
    place = "https://github.com/octocat/x/blob/main/.env"
    found = {
        "token": secret,
        "type": "hub_api_token",
        "url": place,
        "source": "content",
    }

    reply = bearer(None).post(PATH, [found])

    assert reply.status_code == 202
    assert handle() == 1
    assert Leak.objects.get().source == place


def test_the_request_does_the_same_for_tokens_and_for_inventions(
    bearer: Any, mallory: Any, monkeypatch: Any
) -> None:
    _, secret = make_token(mallory)
    known_id = secret[:-60] + forged()[-60:]
    hashed = []
    monkeypatch.setattr(digests, "matches", lambda *words: hashed.append(words))
    seen = []
    for string in (secret, forged(), known_id, "0123456789abcdef0123456789abcdef"):
        with CaptureQueriesContext(connection) as queries:
            reply = bearer(None).post(PATH, {"credentials": [string]})
        # Without the values, and without the names of savepoints.
        texts = [re.split("SELECT|SAVEPOINT", query["sql"])[0] for query in queries]
        seen.append((reply.status_code, reply.content, texts))

    assert seen[0][0] == 202
    assert all(each == seen[0] for each in seen)
    assert hashed == []


def test_who_reports_makes_no_difference(
    bearer: Any, as_: Any, mallory: Any, ada: Any
) -> None:
    _, secret = make_token(mallory)
    _, hers = make_token(ada)

    for client in (bearer(None), bearer(hers), bearer("wrong"), as_(ada)):
        reply = client.post(
            PATH, {"credentials": [secret]}, content_type="application/json"
        )
        assert reply.status_code == 202

    assert handle() == 1
    assert bearer(hers).get(f"{API}/user").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        {"credentials": []},
        {"credentials": "hub_x"},
        {"credentials": [1]},
        {"credentials": {}},
        [{"type": "x"}],
        ["hub_x"],
        [{"token": 1}],
        "hub_x",
        {"credentials": ["x" * 80] * (MOST + 1)},
        [{"token": "x" * 80}] * (MOST + 1),
    ],
)
def test_other_bodies_are_refused_and_store_nothing(bearer: Any, body: Any) -> None:
    reply = bearer(None).post(PATH, body)

    assert reply.status_code == 400
    assert "xxx" not in reply.json()["message"]
    assert not LeakReport.objects.exists()


def test_a_thousand_in_one_report(bearer: Any, mallory: Any) -> None:
    secrets = [make_token(mallory)[1] for _ in range(3)]
    strings = [*secrets, *(forged() for _ in range(MOST - 3))]

    assert bearer(None).post(PATH, {"credentials": strings}).status_code == 202
    assert handle() == 3


@pytest.mark.parametrize(
    "string", ["", "short", "with blanks in it", "ü" * 20, "x" * 500]
)
def test_strings_that_can_be_no_token_are_accepted_and_not_kept(
    bearer: Any, string: str
) -> None:
    assert bearer(None).post(PATH, {"credentials": [string]}).status_code == 202
    assert handle() == 0


def test_a_network_may_report_so_often_in_an_hour(bearer: Any) -> None:
    now = timezone.now()
    for number in range(PER_HOUR):
        leaks.receive([], address="2001:db8::1", now=now - timedelta(minutes=number))
    LeakReport.objects.update(handled_at=now)
    body = {"credentials": [forged()]}

    same = bearer(None).post(PATH, body, REMOTE_ADDR="2001:db8::ffff")
    other = bearer(None).post(PATH, body, REMOTE_ADDR="2001:db8:0:1::1")

    assert same.status_code == 429
    assert 0 < int(same["Retry-After"]) <= 3600
    assert "network" in same.json()["message"]
    assert other.status_code == 202


def test_after_an_hour_the_network_may_report_again(bearer: Any) -> None:
    before = timezone.now() - timedelta(minutes=61)
    for _ in range(PER_HOUR):
        leaks.receive([], address="127.0.0.1", now=before)

    assert bearer(None).post(PATH, {"credentials": [forged()]}).status_code == 202


def test_waiting_reports_are_limited(bearer: Any) -> None:
    for number in range(MOST_WAITING):
        leaks.receive([], address=f"192.0.2.{number}")

    reply = bearer(None).post(PATH, {"credentials": [forged()]})

    assert reply.status_code == 503
    assert reply["Retry-After"]
    handle()
    assert bearer(None).post(PATH, {"credentials": [forged()]}).status_code == 202
