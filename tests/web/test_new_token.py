"""The form of a new token: links, presets, filters, the preview, and proof."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.test import Client

from accounts.models import User
from accounts.proof import PROVEN_AT
from accounts.second_factor import MFAAdapter
from tests.factories import PASSWORD, make_group, make_service, make_user
from tests.web.test_profile import code_for
from tokens.forms import TokenForm
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

NEW = "/hub/token/new"
ANSWERS = {"note": "for CI", "expires_in": "3600", "permissions": "everything"}
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)

SignIn = Callable[[User | None], Client]


def text_of(reply: Any) -> str:
    return unescape(reply.content.decode())


# Links to the form


@time_machine.travel(NOW, tick=False)
@pytest.mark.parametrize(
    ("expires", "selected", "day"),
    [
        ("3600", "3600", ""),
        ("1h", "3600", ""),
        ("90d", "7776000", ""),
        ("1w", "604800", ""),
        ("10d", "date", "2030-01-11"),
        ("2030-12-31", "date", "2030-12-31"),
        ("never", "never", ""),
        ("soon", "2592000", ""),
        ("0", "2592000", ""),
        ("99999999999w", "2592000", ""),
        ("", "2592000", ""),
    ],
)
def test_a_link_states_the_expiry(
    as_: SignIn, alan: User, expires: str, selected: str, day: str
) -> None:
    page = text_of(as_(alan).get(NEW, {"expires": expires}))

    assert f'<option value="{selected}" selected>' in page
    assert re.search(rf'name="expires_on" value="{day}"', page)


def test_a_link_states_note_and_scopes(as_: SignIn, alan: User) -> None:
    scopes = "read:users!user, servers!server=alan/lab"

    page = text_of(as_(alan).get(NEW, {"note": "from VS <Code>", "scopes": scopes}))

    assert 'value="from VS <Code>"' in page
    assert re.search(r'value="read:users!user"[^>]* checked', page)
    assert 'name="more_scopes"' in page
    assert 'value="servers!server=alan/lab"' in page
    assert re.search(r'value="chosen" checked', page)
    assert not APIToken.objects.exists()


# Expiry on a date


@time_machine.travel(NOW, tick=False)
def test_a_date_is_the_last_day(as_: SignIn, alan: User) -> None:
    sent = {**ANSWERS, "expires_in": "date", "expires_on": "2030-02-03"}

    assert as_(alan).post(NEW, sent).status_code == 200

    end = APIToken.objects.get().expires_at
    assert end is not None
    assert timedelta(0) <= datetime(2030, 2, 4, tzinfo=UTC) - end < timedelta(seconds=2)


@time_machine.travel(NOW, tick=False)
@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("", "Choose a date."),
        ("2029-12-31", "This day has passed."),
        ("tomorrow", "Enter a valid date."),
        ("9999-12-31", "must not exceed"),
    ],
)
def test_a_wrong_date_is_explained(
    as_: SignIn, alan: User, day: str, message: str
) -> None:
    sent = {**ANSWERS, "expires_in": "date", "expires_on": day}

    reply = as_(alan).post(NEW, sent)

    assert reply.status_code == 400
    assert message in text_of(reply)
    assert not APIToken.objects.exists()


# Presets


def test_read_only_changes_nothing(as_: SignIn, alan: User, ada: User) -> None:
    for user in (alan, ada):
        as_(user).post(NEW, {**ANSWERS, "permissions": "read"})

        held = APIToken.objects.latest("pk").access
        reading = {s for s in user.access.scopes if s.startswith(("read:", "list:"))}
        assert reading <= held.scopes
        assert all(scope.startswith(("read:", "list:")) for scope in held.scopes), (
            held.scopes
        )


def test_a_script_starts_servers_and_no_more(as_: SignIn, alan: User) -> None:
    as_(alan).post(NEW, {**ANSWERS, "permissions": "servers"})

    token = APIToken.objects.get()
    assert "servers!user" in token.scopes
    assert not token.access.has("tokens", "users:activity", "shares")


def test_a_group_is_managed(as_: SignIn, alan: User) -> None:
    make_group("stats")
    tutor = make_user("tutor", scopes=["groups!group=stats"])
    sent = {**ANSWERS, "permissions": "group", "group": "stats"}

    assert "Manage a group" not in text_of(as_(alan).get(NEW))
    assert 'value="stats"' in text_of(as_(tutor).get(NEW))
    as_(tutor).post(NEW, sent)
    refused = as_(tutor).post(NEW, {**sent, "group": "unknown"})
    unnamed = as_(tutor).post(NEW, {**sent, "group": ""})

    assert APIToken.objects.get().scopes == ["groups!group=stats"]
    assert refused.status_code == unnamed.status_code == 400
    assert "Name the group." in text_of(unnamed)


# Scopes with filters, without a script


def test_a_scope_with_a_filter_is_added(as_: SignIn, alan: User) -> None:
    sent = {
        **ANSWERS,
        "permissions": "chosen",
        "more_scopes": "read:tokens!user=alan",
        "filtered_name": "servers",
        "filtered_kind": "server",
        "filtered_value": " alan/lab ",
        "step": "add",
    }

    reply = as_(alan).post(NEW, sent)

    assert reply.status_code == 200
    assert 'value="read:tokens!user=alan servers!server=alan/lab"' in text_of(reply)
    assert 'value="for CI"' in text_of(reply)
    assert not APIToken.objects.exists()


@pytest.mark.parametrize("value", ["", "two words", "a,b"])
def test_a_filter_without_a_name_is_refused(
    as_: SignIn, alan: User, value: str
) -> None:
    sent = {
        **ANSWERS,
        "filtered_name": "servers",
        "filtered_kind": "server",
        "filtered_value": value,
        "step": "add",
    }

    assert as_(alan).post(NEW, sent).status_code == 400


def test_names_are_suggested_as_far_as_they_may_be_seen(
    as_: SignIn, alan: User, ada: User
) -> None:
    make_group("math", users=[alan])
    make_group("art")
    make_service("portal")
    make_user("alanis")

    def names(user: User, kind: str, text: str) -> Any:
        return as_(user).get(f"{NEW}/names", {"kind": kind, "q": text}).json()["names"]

    assert names(alan, "user", "al") == ["alan"]
    assert names(ada, "user", "alan") == ["alan", "alanis"]
    assert names(alan, "group", "mat") == ["math"]
    assert names(alan, "group", "art") == []
    assert names(ada, "group", "art") == ["art"]
    assert names(alan, "service", "") == []
    assert names(ada, "service", "ort") == ["portal"]
    assert names(alan, "server", "al") == ["alan/"]
    assert names(ada, "moon", "") == []


# The preview


def test_the_preview_lists_what_the_token_could_call(as_: SignIn, alan: User) -> None:
    sent = {**ANSWERS, "permissions": "chosen", "scopes": ["read:users!user"]}

    page = text_of(as_(alan).post(NEW, {**sent, "step": "preview"}))

    assert "GET /users/{name}</code>" in page
    assert "for user alan" in page
    assert "DELETE /users/{name}</code>" not in page
    assert re.search(r'value="read:users!user"[^>]* checked', page)
    assert not APIToken.objects.exists()


# Proof


@pytest.mark.parametrize(
    ("scopes", "asks"), [("shutdown", True), ("read:users", False)]
)
def test_a_powerful_token_needs_a_recent_sign_in(
    as_: SignIn, scopes: str, asks: bool
) -> None:
    root = make_user("root", admin=True, password="a long password")
    browser = as_(root)
    session = browser.session
    session[PROVEN_AT] = 0
    session.save()
    sent = {**ANSWERS, "permissions": "chosen", "more_scopes": scopes}

    reply = browser.post(NEW, sent)

    assert APIToken.objects.exists() is not asks
    if asks:
        assert reply.status_code == 302
        assert "/reauthenticate/" in reply.url
        back = unescape(reply.url)
        assert "token%2Fnew%3Fnote%3Dfor%2BCI" in back


def test_who_has_a_second_factor_gives_it_before_a_powerful_token(
    as_: SignIn,
) -> None:
    """A password, however recent, may be known to somebody else."""
    root = make_user("root", admin=True, password=PASSWORD)
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    kept = {"secret": MFAAdapter().encrypt(secret)}
    Authenticator.objects.create(user=root, type="totp", data=kept)
    browser = as_(root)
    session = browser.session
    session[PROVEN_AT] = time.time()
    session.save()
    sent = {**ANSWERS, "permissions": "chosen", "more_scopes": "shutdown"}

    asked = browser.post(NEW, sent)
    assert asked.status_code == 302
    assert asked.url.startswith("/hub/accounts/2fa/reauthenticate/")
    browser.post("/hub/accounts/reauthenticate/", {"password": PASSWORD})
    assert "/2fa/reauthenticate/" in browser.post(NEW, sent).url
    assert not APIToken.objects.exists()
    browser.post("/hub/accounts/2fa/reauthenticate/", {"code": code_for(secret)})

    assert browser.post(NEW, sent).status_code == 200
    assert APIToken.objects.get().scopes == ["shutdown"]
    with time_machine.travel(time.time() + 3600, tick=True):
        assert "/2fa/reauthenticate/" in browser.post(NEW, sent).url


def test_who_can_prove_nothing_is_not_asked(as_: SignIn) -> None:
    root = make_user("root", admin=True)
    sent = {**ANSWERS, "permissions": "chosen", "more_scopes": "shutdown"}

    assert as_(root).post(NEW, sent).status_code == 200


def test_the_form_offers_every_scope_in_words(ada: User) -> None:
    from django.utils import timezone

    form = TokenForm(user=ada, now=timezone.now())

    names = dict(form.scope_names())
    assert "servers" in names
    assert "inherit" not in names
