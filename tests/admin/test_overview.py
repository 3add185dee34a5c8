"""The overview: decisions, tokens worth a look, and the last 30 days."""

from __future__ import annotations

import csv
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from audit.actions import record
from audit.models import Actor
from tests.admin.conftest import rows, text
from tests.factories import make_group, make_token, make_user
from tokens.models import APIToken, Leak, TokenRequest

pytestmark = pytest.mark.django_db
LIST = "tokens_apitoken"


def change(token, **columns):
    APIToken.objects.filter(pk=token.pk).update(**columns)
    return token


def figures(client, group=""):
    reply = client.get(reverse("admin:trends_csv"), {"group": group})
    heads, *days = csv.reader(reply.content.decode().splitlines())
    assert len(days) == 30
    return dict(zip(heads[1:], map(int, days[-1][1:]), strict=True))


def test_counts_what_waits_and_what_is_odd(as_, ada, alan, pages):
    now = timezone.now()
    old = now - timedelta(days=200)
    leaked = make_token(alan)[0]
    Leak.objects.create(token=leaked, address="192.0.2.1")
    powerful = make_token(ada)[0]
    narrow = change(make_token(ada, scopes=["read:users"])[0], created=old)
    moved = change(make_token(alan)[0], created=old, last_activity=now)
    moved.uses.create(network="198.51.100.0/24", agent="curl/8")
    tripped = make_token(alan)[0]
    tripped.previous_secrets.create(
        public_id="earlier",
        digest=APIToken.objects.get(pk=tripped.pk).digest,
        ends_at=now,
        tripped_at=now,
    )
    TokenRequest.objects.create(user=alan, note="deploy")
    client = as_(ada)

    page = text(client.get("/hub/admin/"))
    assert "Tokens to approve 1" in page
    for look, words, token in (
        ("leaked", "Reported as leaked in the last 30 days", leaked),
        ("tripped", "Earlier secret used in the last 30 days", tripped),
        ("new_network", "Used from a new network in the last 7 days", moved),
        ("unending", "Powerful and without expiry", powerful),
        ("unused", "Not used in the last 90 days", narrow),
    ):
        assert f"{words} 1" in page
        assert rows(client.get(pages.list(LIST), {"look": look})) == [str(token)]


def test_shows_tokens_calls_people_and_servers_by_day(as_, ada, alan, mallory):
    group = make_group("trendy", users=[alan])
    for person in (alan, mallory):
        token = make_token(person)[0]
        token.days.create(day=timezone.now().date(), count=5)
        by = Actor("user", person.name)
        record(by, "session.login", "user", person.name)
        record(by, "session.login", "user", person.name)
        record(by, "server.start", "server", f"{person.name}/")
    client = as_(ada)

    whole, some = figures(client), figures(client, group.name)

    assert whole["Tokens created"] == 2
    assert whole["Calls with tokens"] == 10
    assert whole["People who signed in"] >= 2
    assert whole["Servers started"] == 2
    assert list(some.values()) == [1, 5, 1, 1]
    page = client.get(reverse("admin:trends"), {"group": group.name})
    assert "Calls with tokens: 5 in 30 days" in page.content.decode()
    assert b"?group=trendy" in page.content


def test_others_see_only_what_their_scopes_reach(as_, alan):
    make_token(alan)
    reader = make_user("reader", scopes=["admin-ui"])

    assert figures(as_(reader))["Tokens created"] == 0
    assert "Tokens to approve" not in text(as_(reader).get("/hub/admin/"))


@pytest.mark.parametrize("group", ["nobody-is-called-that", "\0", "x" * 300])
def test_unknown_groups_change_nothing(as_, ada, alan, group):
    make_token(alan)

    reply = as_(ada).get(reverse("admin:trends"), {"group": group})

    assert reply.status_code in (200, 400)
    assert "Tokens created: 1" not in reply.content.decode()


def test_a_figure_is_the_number_of_the_list_to_which_it_leads(as_, ada, alan, pages):
    now = timezone.now()
    for columns in (
        {},
        {"expires_at": now + timedelta(days=2)},
        {"expires_at": now + timedelta(days=2), "disabled_at": now},
        {"frozen_at": now},
        {"created_via": "exchange"},
        {"revoked_at": now},
    ):
        change(make_token(alan)[0], **columns)
    client = as_(ada)

    page = text(client.get("/hub/admin/"))

    assert "2 Active tokens" in page
    assert "1 Tokens that expire within a week" in page
    for state, number in (("active", 2), ("expiring", 1)):
        assert len(rows(client.get(pages.list(LIST), {"state": state}))) == number
