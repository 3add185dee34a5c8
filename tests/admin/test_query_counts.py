"""Lists need the same number of queries for any length."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.actions import record
from tests.admin.conftest import rows
from tests.factories import (
    BY,
    make_client,
    make_group,
    make_role,
    make_server,
    make_service,
    make_token,
    make_user,
    make_users,
)
from tokens.models import TokenPolicy
from web.admin_lists import ROWS

# The most queries of a list, with any search and filter.
MOST = 12

pytestmark = pytest.mark.django_db


def fill(number: int) -> None:
    """Add rows of every kind, each with relations of its own."""
    for _ in range(number):
        group = make_group()
        user = make_user(
            groups=[group], scopes=["read:hub"], last_activity=datetime.now(UTC)
        )
        make_role(None, "read:hub", groups=[group])
        service = make_service(scopes=["read:hub"])
        make_token(user)
        make_token(service)
        make_client(service.name, service=service)
        make_server(user, "lab", ready=True)
        record(BY, "user.create", "user", user.name)


@pytest.mark.parametrize(
    "model",
    [
        *("accounts_user", "accounts_group", "accounts_role", "services_service"),
        *("tokens_apitoken", "servers_server", "audit_event"),
        "oauth_oauthclient",
    ],
)
@pytest.mark.parametrize("who", ["ada", "grace"])
def test_lists(as_, request, pages, model, who):
    client = as_(request.getfixturevalue(who))
    group = request.getfixturevalue("data301")

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            client.get(pages.list(model))
        return len(captured)

    fill(2)
    group.users.add(*make_many(2))
    few = queries()
    fill(18)
    group.users.add(*make_many(18))

    assert queries() == few
    assert few <= MOST


def views_of_a_list(reply: Any) -> list[str]:
    """Return the queries of a list with each filter, order and size, and a search."""
    listed = reply.context["cl"]
    columns = range(len(listed.list_display))
    found = ["?q=a", "?q=nobody-has-this", f"?rows={ROWS[-1]}", f"?rows={ROWS[-1]}&p=2"]
    found += [f"?o={sign}{column}" for column in columns for sign in ("", "-")]
    for each in listed.filter_specs:
        found += [choice["query_string"] for choice in each.choices(listed)]
        if getattr(each, "example", ""):
            found.append(f"?{urlencode({each.parameter_name: each.example})}")
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("who", ["ada", "grace"])
def test_every_list_has_few_queries_with_every_filter(as_, request, pages, who):
    reader = request.getfixturevalue(who)
    request.getfixturevalue("data301").users.add(*make_many(2))
    fill(2)
    for ceiling in (["self"], ["read:users"], ["servers", "tokens"]):
        group = make_group()
        TokenPolicy.objects.create(group=group, scope_ceiling=ceiling)
    make_users(ROWS[0] + 1)
    client = as_(reader)
    many, seen = {}, 0
    for row in apps.get_models():
        model = f"{row._meta.app_label}_{row._meta.model_name}"
        if not admin.site.is_registered(row):
            continue
        first = client.get(pages.list(model))
        if first.status_code == 403:
            continue
        for query in views_of_a_list(first):
            with CaptureQueriesContext(connection) as captured:
                reply = client.get(pages.list(model, query))
            assert reply.status_code in (200, 302), f"{model}{query}"
            seen += reply.status_code == 200
            if len(captured) > MOST:
                many[f"{model}{query}"] = len(captured)

    assert not many
    assert seen > 100


def make_many(number: int):
    users = [make_user() for _ in range(number)]
    for user in users:
        make_token(user)
        make_server(user)
    return users


def test_overview(as_, ada):
    client = as_(ada)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/hub/admin/")
        return len(captured)

    fill(2)
    few = queries()
    fill(18)

    assert queries() == few


@pytest.mark.parametrize("query", ["", "q=s", "q=user", "q=group", "rows=200"])
@pytest.mark.parametrize(
    "model", ["accounts_user", "tokens_apitoken", "servers_server", "audit_event"]
)
def test_searches(as_, ada, pages, model, query):
    client = as_(ada)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(pages.list(model, f"?{query}"))
        return len(captured)

    fill(2)
    few = queries()
    fill(18)

    assert queries() == few


@pytest.mark.parametrize(
    "model", ["accounts_user", "tokens_apitoken", "servers_server"]
)
def test_one_row_and_its_deletion(as_, ada, pages, model):
    user = make_user()
    row = {
        "accounts_user": user,
        "tokens_apitoken": make_token(user)[0],
        "servers_server": make_server(user),
    }[model]
    client = as_(ada)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(pages.of(row))
            client.get(pages.of(row, "delete"))
        return len(captured)

    for _ in range(2):
        make_token(user)
        make_server(user, f"lab{_}")
    queries()
    few = queries()
    for _ in range(18):
        make_token(user)
        make_server(user, f"more{_}")

    assert queries() == few


def test_every_row_can_be_reached(as_, ada, pages):
    make_users(1203)
    client = as_(ada)

    first = client.get(pages.list("accounts_user"))
    last = client.get(pages.list("accounts_user", "?p=25"))
    wide = client.get(pages.list("accounts_user", "?rows=500&p=3"))

    assert first.context["cl"].result_count == 1204
    assert b"1,204 users" in first.content
    assert rows(last) == [f"student{number:05}" for number in (1199, 1200, 1201, 1202)]
    assert len(rows(wide)) == 204
    assert (
        client.get(pages.list("accounts_user", "?rows=9")).context["cl"].list_per_page
        == 50
    )
