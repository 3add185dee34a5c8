"""The list of a person's tokens: search, filters, sorting, and selections."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from tests.factories import make_client, make_token, make_user
from tokens.actions.pausing import disable_tokens
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

PAGE = "/hub/token"
SELECTED = "/hub/token/selected"
ALL = ["grader", "laptop", "leaky", "backup"]

SignIn = Callable[[User | None], Client]


def text_of(reply: Any) -> str:
    return unescape(reply.content.decode())


def shown(page: str, notes: list[str]) -> list[str]:
    """Return those of `notes` that the list shows, in its order."""
    listed = page.partition('id="yours"')[2]
    places = {note: listed.find(f">{note}</a>") for note in notes}
    return sorted((n for n in notes if places[n] >= 0), key=lambda n: places[n])


@pytest.fixture
def tokens(alan: User) -> list[str]:
    now = timezone.now()
    fields: dict[str, dict[str, Any]] = {
        "laptop": {"expires_at": now + timedelta(days=3)},
        "grader": {"last_activity": now, "expires_at": None},
        "leaky": {"frozen_at": now, "expires_at": now + timedelta(days=200)},
        "backup": {"disabled_at": now, "expires_at": now + timedelta(days=300)},
    }
    for age, (note, columns) in enumerate(fields.items()):
        token, _ = make_token(alan, note=note, scopes=["read:users!user"])
        created = now - timedelta(hours=age)
        APIToken.objects.filter(pk=token.pk).update(created=created, **columns)
    return list(fields)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ALL),
        ({"q": "rade"}, ["grader"]),
        ({"q": "RADE"}, ["grader"]),
        ({"q": "read:users"}, ALL),
        ({"q": "nothing of the kind"}, []),
        ({"state": "active"}, ["grader", "laptop"]),
        ({"state": "expiring"}, ["laptop"]),
        ({"state": "disabled"}, ["backup"]),
        ({"state": "frozen"}, ["leaky"]),
        ({"state": "unused"}, ["laptop", "leaky", "backup"]),
        ({"state": "unending"}, ["grader"]),
        ({"state": "no such state"}, ALL),
        ({"sort": "created"}, ["laptop", "grader", "leaky", "backup"]),
        ({"sort": "expires"}, ["laptop", "leaky", "backup", "grader"]),
        ({"sort": "note"}, ["backup", "grader", "laptop", "leaky"]),
        ({"state": "unused", "sort": "note"}, ["backup", "laptop", "leaky"]),
        ({"q": "x" * 300}, ALL),
        ({"q": "%"}, []),
        ({"q": "a\0b"}, ALL),
    ],
)
def test_the_list_is_searched_filtered_and_sorted(
    as_: SignIn, alan: User, tokens: list[str], query: dict[str, str], expected: Any
) -> None:
    reply = as_(alan).get(PAGE, query)

    assert reply.status_code == 200
    assert shown(text_of(reply), tokens) == expected


def test_a_token_is_found_by_its_visible_start_and_its_id(
    as_: SignIn, alan: User, tokens: list[str]
) -> None:
    token = APIToken.objects.get(note="laptop")
    page = text_of(as_(alan).get(PAGE))
    assert f"hub_{token.public_id}_…" in page

    for text in (f"hub_{token.public_id}_", token.public_id[2:9], str(token)):
        assert shown(text_of(as_(alan).get(PAGE, {"q": text})), tokens) == ["laptop"]


def test_pages_keep_the_query(as_: SignIn, alan: User) -> None:
    for number in range(60):
        make_token(alan, note=f"job {number}")
    make_token(alan, note="other")

    page = text_of(as_(alan).get(PAGE, {"q": "job", "sort": "note"}))

    assert "tokens 1 to 50 of 60" in page
    assert 'href="?q=job&sort=note&page=2"' in page


def test_a_page_beyond_the_last_is_the_last(as_: SignIn, alan: User) -> None:
    """Tokens end while a page is open, and the browser may load the page again."""
    for number in range(60):
        make_token(alan, note=f"job {number}")

    for page in ("3", "99"):
        assert "tokens 51 to 60 of 60" in text_of(as_(alan).get(PAGE, {"page": page}))
    assert "tokens 1 to 50 of 60" in text_of(as_(alan).get(PAGE, {"page": "x"}))


@pytest.mark.parametrize("action", ["disable", "revoke", "burn"])
def test_a_change_of_many_returns_to_the_same_search_and_page(
    as_: SignIn, alan: User, action: str
) -> None:
    for number in range(60):
        make_token(alan, note=f"job {number}")
    browser = as_(alan)
    shown_page = text_of(browser.get(PAGE, {"q": "job", "sort": "note", "page": "2"}))
    assert 'name="list" value="q=job&sort=note&page=2"' in shown_page
    token = APIToken.objects.get(note="job 7")

    sent = {"token": token.pk, "action": action, "list": "q=job&sort=note&page=2"}
    if action == "revoke":
        asked = text_of(browser.post(SELECTED, sent))
        assert 'name="list" value="q=job&sort=note&page=2"' in asked
        assert f'href="{PAGE}?q=job&sort=note&page=2"' in asked
    reply = browser.post(SELECTED, {**sent, "confirmed": "1"})

    assert reply.headers["Location"] == f"{PAGE}?q=job&sort=note&page=2"


@pytest.mark.parametrize(
    "written", ["", "//evil.example", "page=//evil.example", "page=1", "q=&state=x"]
)
def test_a_change_of_many_returns_to_nothing_but_the_list(
    as_: SignIn, alan: User, written: str
) -> None:
    token, _ = make_token(alan)

    sent = {"token": token.pk, "action": "disable", "list": written}

    assert as_(alan).post(SELECTED, sent).headers["Location"] == PAGE


@pytest.mark.parametrize(
    ("action", "state", "message"),
    [
        ("disable", "disabled_at", "Disabled 2 tokens."),
        ("revoke", "revoked_at", "Revoked 2 tokens."),
    ],
)
def test_selected_tokens_are_changed_together(
    as_: SignIn, alan: User, tokens: list[str], action: str, state: str, message: str
) -> None:
    chosen = APIToken.objects.filter(note__in=("laptop", "grader"))
    ids = list(chosen.values_list("pk", flat=True))
    browser = as_(alan)

    if action == "revoke":
        page = text_of(browser.post(SELECTED, {"token": ids, "action": action}))
        assert "Revoke 2 tokens?" in page
        assert not APIToken.objects.filter(revoked_at__isnull=False).exists()
    sent = {"token": ids, "action": action, "confirmed": "1"}
    reply = browser.post(SELECTED, sent, follow=True)

    assert message in text_of(reply)
    assert not chosen.filter(**{state: None}).exists()
    assert APIToken.objects.get(note="backup").revoked_at is None


def test_disabled_tokens_are_enabled_again(
    as_: SignIn, alan: User, tokens: list[str]
) -> None:
    ids = list(APIToken.objects.values_list("pk", flat=True))

    sent = {"token": ids, "action": "enable"}
    assert "Enabled 1 token." in text_of(as_(alan).post(SELECTED, sent, follow=True))
    assert not APIToken.objects.exclude(disabled_at=None).exists()


def test_what_somebody_else_disabled_stays_disabled(
    as_: SignIn, alan: User, grace: User
) -> None:
    token, _ = make_token(alan)
    disable_tokens(APIToken.objects.all(), by=Actor("user", "grace"))
    browser = as_(alan)

    reply = browser.post(SELECTED, {"token": token.pk, "action": "enable"}, follow=True)

    assert "Somebody else has disabled this token" in text_of(reply)
    assert "Programs can use the token again" not in text_of(
        browser.get(f"{PAGE}/{token}")
    )
    assert browser.post(f"{PAGE}/{token}/enable").status_code == 400
    assert not APIToken.objects.filter(disabled_at=None).exists()


@pytest.mark.parametrize("sent", [{}, {"token": "x"}, {"token": "999999"}])
@pytest.mark.parametrize("action", ["revoke", "disable", "burn"])
def test_nothing_selected_changes_nothing(
    as_: SignIn, alan: User, tokens: list[str], sent: dict[str, str], action: str
) -> None:
    reply = as_(alan).post(SELECTED, {**sent, "action": action}, follow=True)

    assert "No token was selected." in text_of(reply)


def test_an_unknown_action_changes_nothing(
    as_: SignIn, alan: User, tokens: list[str]
) -> None:
    before = list(APIToken.objects.values())
    ids = [row["id"] for row in before]

    as_(alan).post(SELECTED, {"token": ids, "action": "burn", "confirmed": "1"})

    assert list(APIToken.objects.values()) == before


def test_only_own_requested_tokens_can_be_selected(as_: SignIn, alan: User) -> None:
    others, _ = make_token(make_user("grace"))
    of_client, _ = make_token(alan, client_id=make_client().identifier)
    sent = {"token": [others.pk, of_client.pk], "action": "disable"}

    as_(alan).post(SELECTED, sent)

    assert not APIToken.objects.exclude(disabled_at=None).exists()


def test_readers_change_nothing(as_: SignIn) -> None:
    reader = make_user("reader", roles=(), scopes=["read:tokens!user"])
    token, _ = make_token(reader)

    reply = as_(reader).post(SELECTED, {"token": token.pk, "action": "disable"})

    assert reply.status_code == 403
    assert APIToken.objects.get().disabled_at is None
