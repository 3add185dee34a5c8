"""Lists need the same number of queries for any length."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
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
    assert few <= 14


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
