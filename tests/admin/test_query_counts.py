"""Lists cost the same number of queries, whatever their length."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.actions import record
from tests.factories import (
    BY,
    make_client,
    make_group,
    make_role,
    make_server,
    make_service,
    make_token,
    make_user,
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
    assert few <= 12


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


def test_counting_stops_at_a_bound(as_, ada, pages, monkeypatch):
    monkeypatch.setattr("audit.admin_base.COUNTED", 5)
    fill(10)

    reply = as_(ada).get(pages.list("accounts_user"))

    assert reply.context["cl"].result_count == 5
    assert b"search or filter to see others" in reply.content
