"""The page of one token: what it shows, and the forms that change the token."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.proof import PROVEN_AT
from audit.models import Actor
from tests.factories import make_client, make_group, make_token, make_user
from tokens import approvals
from tokens.actions.pausing import freeze_tokens
from tokens.actions.rotation import rotate_token
from tokens.models import (
    APIToken,
    TokenDay,
    TokenOperation,
    TokenPolicy,
    TokenPreferences,
    TokenRequest,
    TokenUse,
)
from tokens.verification import verify

pytestmark = pytest.mark.django_db

SignIn = Callable[[User | None], Client]


def text_of(reply: Any) -> str:
    return unescape(reply.content.decode())


def page_of(token: APIToken) -> str:
    return f"/hub/token/{token}"


@pytest.fixture
def token(alan: User) -> APIToken:
    token, _ = make_token(
        alan, note="grader", scopes=["read:users!user", "servers!user"]
    )
    return token


def use(token: APIToken, operation: str, scope: str) -> None:
    TokenOperation.objects.create(token=token, operation=operation, scope=scope)


# Seeing


def test_the_page_shows_the_token_and_its_history(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    now = timezone.now()
    APIToken.objects.filter(pk=token.pk).update(
        last_activity=now,
        last_address="192.0.2.7",
        last_agent="curl/8.0",
        last_endpoint="GET /users/{name}",
        networks=["192.0.2.0/24"],
        rate_limit=90,
    )
    TokenUse.objects.create(token=token, network="192.0.2.0/24", agent="curl/8.0")
    TokenDay.objects.create(token=token, day=now.date(), count=42)

    page = text_of(as_(alan).get(page_of(token)))

    assert f"hub_{token.public_id}_…" in page
    for text in (
        "grader",
        "from 192.0.2.7",
        "curl/8.0",
        "GET /users/{name}",
        "192.0.2.0/24",
        "at most 90 requests in a minute",
        "42 requests, at most 42 on one day",
        "issued token",
    ):
        assert text in page, text
    assert page.count("<rect ") == 1


@pytest.mark.parametrize("change", ["", "/note", "/rotate", "/disable"])
def test_only_own_requested_tokens_have_a_page(
    as_: SignIn, alan: User, change: str
) -> None:
    others, _ = make_token(make_user("grace"))
    of_client, _ = make_token(alan, client_id=make_client().identifier)

    for token in (others, of_client):
        assert as_(alan).get(page_of(token)).status_code == 404
        sent = {"note": "mine", "overlap": "0"}
        assert as_(alan).post(page_of(token) + change, sent).status_code == 404


def test_readers_see_no_forms_and_change_nothing(as_: SignIn) -> None:
    reader = make_user("reader", roles=(), scopes=["read:tokens!user"])
    token, _ = make_token(reader)

    assert "Change this token" not in text_of(as_(reader).get(page_of(token)))
    assert as_(reader).post(f"{page_of(token)}/disable").status_code == 403


def test_an_ended_token_has_a_page_without_forms(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    APIToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())

    page = text_of(as_(alan).get(page_of(token)))

    assert ">revoked</span>" in page
    assert "Change this token" not in page


# Granted and used


def test_what_was_not_used_can_be_taken_away_at_once(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    browser = as_(alan)
    assert "Narrow to" not in text_of(browser.get(page_of(token)))
    use(token, "GET /users/{name}/server", "read:servers")

    page = text_of(browser.get(page_of(token)))
    assert "Granted 2 scopes, used 1" in page
    form = page.partition('/narrow">')[2].partition("</form>")[0]
    scopes = re.findall(r'name="scopes" value="([^"]+)"', form)
    assert scopes == ["read:servers!user"]
    reply = browser.post(f"{page_of(token)}/narrow", {"scopes": scopes}, follow=True)

    token.refresh_from_db()
    assert token.scopes == ["read:servers!user"]
    assert "Narrowed the token." in text_of(reply)
    assert "Narrow to" not in text_of(reply)


def test_a_token_with_everything_is_narrowed_to_what_it_used(
    as_: SignIn, alan: User
) -> None:
    token, _ = make_token(alan)
    use(token, "POST /users/{name}/server", "start:servers")
    use(token, "GET /user", "")

    page = text_of(as_(alan).get(page_of(token)))

    assert "start:servers!user" in page.partition('/narrow">')[2]
    as_(alan).post(f"{page_of(token)}/narrow", {"scopes": ["start:servers!user"]})
    token.refresh_from_db()
    assert token.scopes == ["start:servers!user"]


def test_the_page_simulates_the_loss_of_a_group(as_: SignIn) -> None:
    tutor = make_user("tutor")
    make_group("stats", users=[tutor], scopes=["read:groups!group=stats"])
    token, _ = make_token(tutor, scopes=["read:groups!group=stats"])
    browser = as_(tutor)

    now = text_of(browser.get(page_of(token)))
    then = text_of(browser.post(page_of(token), {"without": "stats"}))

    assert "GET /groups/{name}</code>" in now
    assert "GET /groups/{name}</code>" not in then
    assert "if you were not in" in then
    assert tutor.groups.filter(name="stats").exists()


# Changes


def test_a_token_is_renamed(as_: SignIn, alan: User, token: APIToken) -> None:
    reply = as_(alan).post(f"{page_of(token)}/note", {"note": "marker"}, follow=True)

    token.refresh_from_db()
    assert token.note == "marker"
    assert "changed the note of token" in text_of(reply)


def test_the_expiry_is_changed(as_: SignIn, alan: User, token: APIToken) -> None:
    as_(alan).post(f"{page_of(token)}/expiry", {"expires_in": "3600"})

    token.refresh_from_db()
    assert token.expires_at is not None
    left = token.expires_at - timezone.now()
    assert timedelta(minutes=58) < left <= timedelta(hours=1)


def test_limits_are_set_and_lifted(as_: SignIn, alan: User, token: APIToken) -> None:
    browser, address = as_(alan), f"{page_of(token)}/limits"
    browser.post(address, {"networks": "192.0.2.7, 2001:db8::/32", "rate_limit": "60"})

    token.refresh_from_db()
    assert token.networks == ["192.0.2.7/32", "2001:db8::/32"]
    assert token.rate_limit == 60

    browser.post(address, {"networks": "", "rate_limit": ""})
    token.refresh_from_db()
    assert not token.networks
    assert token.rate_limit is None


def shown_by(reply: Any) -> dict[str, str]:
    """Return the hidden fields with the values that a page shows."""
    inputs = re.findall(r"<input[^>]*name=\"initial-[^>]*>", reply.content.decode())
    return {
        re.findall(r'name="([^"]*)"', each)[0]: unescape(
            "".join(re.findall(r'value="([^"]*)"', each))
        )
        for each in inputs
    }


def test_a_form_of_limits_keeps_what_was_changed_elsewhere(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    browser, address = as_(alan), f"{page_of(token)}/limits"
    shown = shown_by(browser.get(page_of(token)))
    assert shown == {"initial-networks": "", "initial-rate_limit": ""}
    APIToken.objects.filter(pk=token.pk).update(networks=["192.0.2.0/24"])

    browser.post(address, {**shown, "networks": "", "rate_limit": "60"})

    token.refresh_from_db()
    assert (token.networks, token.rate_limit) == (["192.0.2.0/24"], 60)


def test_a_limit_that_was_changed_twice_is_shown_with_both_values(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    browser, address = as_(alan), f"{page_of(token)}/limits"
    shown = shown_by(browser.get(page_of(token)))
    APIToken.objects.filter(pk=token.pk).update(networks=["192.0.2.0/24"])
    given = {"networks": "198.51.100.0/24", "rate_limit": ""}

    refused = browser.post(address, {**shown, **given})

    token.refresh_from_db()
    assert (refused.status_code, token.networks) == (400, ["192.0.2.0/24"])
    assert "changed meanwhile: it was empty" in text_of(refused)
    assert "is “192.0.2.0/24” now" in text_of(refused)

    browser.post(address, {**shown_by(refused), **given})

    token.refresh_from_db()
    assert token.networks == ["198.51.100.0/24"]


def test_a_form_of_mails_keeps_what_was_changed_elsewhere(
    as_: SignIn, alan: User
) -> None:
    browser = as_(alan)
    TokenPreferences.objects.create(user=alan, mail_created=True)
    shown = shown_by(browser.get("/hub/token/notices"))
    assert shown["initial-mail_created"] == "True"
    TokenPreferences.objects.update(mail_created=False, reminder_days=[5])
    boxes = {
        name.removeprefix("initial-"): "on"
        for name, value in shown.items()
        if value == "True" and name != "initial-mail_disabled"
    }

    reply = browser.post(
        "/hub/token/notices", {**shown, **boxes, "days": shown["initial-days"]}
    )

    found = TokenPreferences.objects.get()
    assert reply.status_code == 302
    assert (found.mail_created, found.mail_disabled) == (False, False)
    assert found.reminder_days == [5]


def test_a_rotation_shows_the_new_secret_once(as_: SignIn, alan: User) -> None:
    token, old = make_token(alan, note="grader", scopes=["read:users!user"])
    session_of = as_(alan)

    reply = session_of.post(f"{page_of(token)}/rotate", {"overlap": "3600"})

    page = text_of(reply)
    new = re.search(r'id="secret"[^>]* value="([^"]+)"', page)
    assert new
    assert "was rotated" in page
    assert "no-store" in reply["Cache-Control"]
    assert verify(old) is not None
    assert verify(new[1]) is not None
    assert new[1] not in text_of(session_of.get(page_of(token)))


def test_a_rotation_and_unfreezing_need_a_recent_sign_in(as_: SignIn) -> None:
    ada = make_user("prover", password="a long password")
    token, _ = make_token(ada)
    freeze_tokens(APIToken.objects.all(), by=Actor.system("alarm"), reason="leak")
    browser = as_(ada)
    session = browser.session
    session[PROVEN_AT] = 0
    session.save()

    for change in ("rotate", "unfreeze"):
        reply = browser.post(f"{page_of(token)}/{change}", {"overlap": "0"})
        assert reply.status_code == 302
        assert "/reauthenticate/" in reply.url
    token.refresh_from_db()
    assert token.frozen_at is not None
    assert token.rotated_at is None


def test_a_token_is_widened_within_the_rights_of_its_owner(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    browser = as_(alan)
    address = f"{page_of(token)}/widen"
    page = text_of(browser.get(page_of(token)))
    assert 'value="tokens!user"' in page
    # What the token has already is not offered.
    offered = page.partition(address)[2].partition("</form>")[0]
    assert 'value="read:users!user"' not in offered

    reply = browser.post(
        address,
        {"scopes": ["tokens!user"], "more_scopes": "access:servers!server=alan/"},
    )

    assert reply.status_code == 302
    token.refresh_from_db()
    assert token.scopes == [
        *("read:users!user", "servers!user", "tokens!user"),
        "access:servers!server=alan/",
    ]
    for fields in ({}, {"more_scopes": "admin:users"}, {"more_scopes": "nonsense"}):
        assert browser.post(address, fields).status_code == 400
    token.refresh_from_db()
    assert len(token.scopes) == 4


def test_a_token_with_all_permissions_can_not_be_widened(
    as_: SignIn, alan: User
) -> None:
    token, _ = make_token(alan)

    assert "/widen" not in text_of(as_(alan).get(page_of(token)))


def test_widening_needs_a_recent_sign_in(as_: SignIn) -> None:
    owner = make_user("prover", password="a long password")
    token, _ = make_token(owner, scopes=["read:users!user"])
    browser = as_(owner)
    session = browser.session
    session[PROVEN_AT] = 0
    session.save()

    reply = browser.post(f"{page_of(token)}/widen", {"scopes": ["tokens!user"]})

    assert "/reauthenticate/" in reply.url
    token.refresh_from_db()
    assert token.scopes == ["read:users!user"]


def test_a_policy_may_want_an_approval_of_wider_scopes(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    TokenPolicy.objects.create(approval_scopes=["tokens"])
    browser = as_(alan)
    address = f"{page_of(token)}/widen"
    fields = {"scopes": ["tokens!user"]}

    refused = browser.post(address, fields)
    assert refused.status_code == 400
    assert "Ask for approval" in text_of(refused)
    reply = browser.post(address, {**fields, "step": "ask", "reason": "CI"})
    assert reply.status_code == 302

    asked = TokenRequest.objects.get()
    assert (asked.token, asked.reason) == (token, "CI")
    token.refresh_from_db()
    assert "tokens!user" not in token.scopes
    approvals.decide(asked, is_approved=True, by=Actor.system("test"))
    token.refresh_from_db()
    assert token.scopes == ["read:users!user", "servers!user", "tokens!user"]


def test_an_earlier_secret_works_until_its_end(as_: SignIn, alan: User) -> None:
    token, _ = make_token(alan)
    rotate_token(token, by=Actor.system("test"), overlap=3600)
    assert "works until" in text_of(as_(alan).get(page_of(token)))

    rotate_token(token, by=Actor.system("test"), overlap=0)

    assert "works until" not in text_of(as_(alan).get(page_of(token)))


def test_disabling_and_enabling(as_: SignIn, alan: User) -> None:
    token, secret = make_token(alan)
    browser = as_(alan)

    browser.post(f"{page_of(token)}/disable")
    assert verify(secret) is None
    browser.post(f"{page_of(token)}/enable")
    assert verify(secret) is not None


@pytest.mark.parametrize(
    ("change", "sent", "message"),
    [
        ("note", {"note": ""}, "This field is required."),
        ("note", {"note": "x" * 1024}, "at most 1023 characters"),
        ("expiry", {"expires_in": "date"}, "Choose a date."),
        ("narrow", {}, "This field is required."),
        ("narrow", {"scopes": ["shutdown"]}, "Select a valid choice."),
        ("limits", {"networks": "here"}, "here is no network."),
        ("limits", {"rate_limit": "0"}, "greater than or equal to 1"),
        ("rotate", {"overlap": "-1"}, "Select a valid choice."),
    ],
)
def test_a_mistake_changes_nothing_and_is_explained(
    as_: SignIn,
    alan: User,
    token: APIToken,
    change: str,
    sent: dict[str, Any],
    message: str,
) -> None:
    before = APIToken.objects.values().get()

    reply = as_(alan).post(f"{page_of(token)}/{change}", sent)

    assert reply.status_code == 400
    assert message in text_of(reply)
    assert 'role="alert"' in text_of(reply)
    assert APIToken.objects.values().get() == before


def test_an_unknown_change_is_not_found(
    as_: SignIn, alan: User, token: APIToken
) -> None:
    assert as_(alan).post(f"{page_of(token)}/burn").status_code == 404


def test_a_group_with_an_odd_name_is_simulated(as_: Any, alan: User) -> None:
    token, _ = make_token(alan)

    for name in ("a\0b", "\0", "x" * 5_000):
        reply = as_(alan).post(f"/hub/token/a{token.pk}", {"without": name})
        assert reply.status_code == 200, name[:9]


@pytest.mark.parametrize("number", ["9" * 25, "9" * 5_000, "\u0663", "-1"])
def test_odd_numbers_select_no_token(as_: SignIn, alan: User, number: str) -> None:
    form = {"token": [number], "action": "disable"}

    assert as_(alan).post("/hub/token/selected", form).status_code == 302


def test_an_ended_token_is_reached_from_the_list(as_: SignIn, alan: User) -> None:
    """The page of a revoked token shows from where and for what it was used."""
    token, _ = make_token(alan, note="leaked")
    APIToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())

    listed = text_of(as_(alan).get("/hub/token"))

    ended = listed.partition("Inactive tokens")[2]
    assert f'href="/hub/token/{token}">leaked</a>' in ended
