"""Data that the admin must not reveal, with any parameters in its addresses."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.admin.conftest import rows
from tests.factories import (
    PASSWORD,
    make_group,
    make_role,
    make_service,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def clerk(as_):
    """Sign in someone who may list names and see tokens, and nothing of what is so."""
    scopes = ("admin-ui", "list:users", "list:groups", "list:services", "read:tokens")
    return as_(make_user("clerk", scopes=scopes, roles=[]))


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("accounts_user", "?password__startswith=argon2"),
        ("accounts_user", "?password__regex=^a"),
        ("accounts_user", "?email__startswith=b"),
        ("accounts_user", "?is_active=1"),
        ("accounts_user", "?last_activity__isnull=1"),
        ("accounts_user", "?user_info__isnull=1"),
        ("accounts_user", "?api_tokens__digest__startswith=x"),
        ("accounts_user", "?groups__properties__contains=x"),
        ("accounts_group", "?properties__contains=x"),
        ("services_service", "?environment__isnull=0"),
        ("tokens_apitoken", "?digest__startswith=$argon2id"),
        ("tokens_apitoken", "?public_id__startswith=a"),
        ("tokens_apitoken", "?user__password__startswith=a"),
        ("accounts_role", "?scopes__contains=x"),
    ],
)
def test_columns_can_not_be_guessed_letter_by_letter(as_, ada, pages, model, query):
    make_user("bob", password=PASSWORD)

    reply = as_(ada).get(pages.list(model, query))

    assert reply.status_code == 400


@pytest.mark.parametrize(
    ("model", "query"),
    [
        ("accounts_user", "?group=data301"),
        ("accounts_user", "?role=leader"),
        ("accounts_group", "?role=leader"),
        ("services_service", "?role=leader"),
    ],
)
def test_filters_show_nothing_that_rows_hide(clerk, pages, model, query):
    bob = make_user("bob", admin=True)
    group, service = make_group("data301", users=[bob]), make_service("portal")
    make_role("leader", "read:hub", users=[bob], groups=[group], services=[service])
    assert rows(clerk.get(pages.list(model)))

    assert rows(clerk.get(pages.list(model, query))) == []


def test_filters_show_what_rows_show(as_, grace, alan, ada, pages):
    client = as_(grace)

    for query in ("?group=data301", "?admin__exact=0", "?role=user"):
        found = rows(client.get(pages.list("accounts_user", query)))
        assert found == ["alan", "grace"]


def test_members_are_visible_with_the_group(as_, alan, mallory, pages):
    scopes = ("admin-ui", "list:users", "list:groups", "read:groups!group=data301")
    reader = make_user("reader", scopes=scopes, roles=[])
    make_group("secret", users=[alan])
    client = as_(reader)

    assert rows(client.get(pages.list("accounts_user", "?group=data301"))) == ["alan"]
    assert rows(client.get(pages.list("accounts_user", "?group=secret"))) == []


@pytest.mark.parametrize(
    "query", ["?group=a%00b", "?role=%00", "?q=%00", "?q=a%00", "?p=" + "9" * 40]
)
def test_odd_words_find_nothing_and_break_nothing(as_, ada, pages, query):
    for model in ("accounts_user", "accounts_group", "tokens_apitoken", "audit_event"):
        reply = as_(ada).get(pages.list(model, query), follow=True)
        assert reply.status_code in (200, 400), connection.vendor


@pytest.mark.parametrize(
    "query", ["?user=%00", "?service=%00", "?target=user:%00", "?target=%00"]
)
def test_nothing_is_named_nul(as_, ada, pages, query):
    make_token(ada)
    model = "audit_event" if "target" in query else "tokens_apitoken"

    reply = as_(ada).get(pages.list(model, query), follow=True)

    assert reply.status_code in (200, 400)


def test_own_password_is_changed_where_attempts_are_limited(as_, ada):
    reply = as_(ada).get("/hub/admin/password_change/")

    assert reply.status_code == 302
    assert reply["Location"] == "/hub/accounts/password/change/"
