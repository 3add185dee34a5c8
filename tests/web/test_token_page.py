"""Request, list and revoke tokens in the browser, without a script."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Actor, Event
from tests.factories import make_client, make_token, make_user
from tokens import activity
from tokens.actions.pausing import disable_tokens
from tokens.actions.revocation import revoke_token
from tokens.forms import DEFAULT_NOTE, TokenForm, lifetimes
from tokens.models import APIToken, TokenPolicy
from tokens.scope_picker import offer
from tokens.snippets import snippets
from tokens.verification import verify

pytestmark = pytest.mark.django_db

PAGE = "/hub/token"
REQUEST = "/hub/token/new"
ANSWERS = {"note": "for CI", "expires_in": "3600", "permissions": "everything"}

TO_A_MONTH = ["3600", "86400", "604800", "2592000"]

SignIn = Callable[[User | None], Client]


def secret_on(page: str) -> str:
    found = re.search(r'id="secret"[^>]* value="([^"]+)"', page)
    assert found
    return found[1]


def text_of(reply: Any) -> str:
    return unescape(reply.content.decode())


def last_used(page: str) -> str:
    found = re.search(r'data-label="Last used">(.*?)</td>', page, re.DOTALL)
    assert found
    return found[1]


# Seeing


def test_strangers_are_sent_to_sign_in(as_: SignIn, db: None) -> None:
    for path in (PAGE, REQUEST, f"{PAGE}/a1/revoke"):
        reply = as_(None).get(path)
        assert reply.status_code == 302
        assert "/hub/login?next=" in reply.url


def test_accounts_without_rights_are_refused(as_: SignIn) -> None:
    nobody = make_user("nobody", roles=())

    assert as_(nobody).get(PAGE).status_code == 403
    assert as_(nobody).post(REQUEST, ANSWERS).status_code == 403
    assert not APIToken.objects.exists()


def test_an_empty_list_explains_itself(as_: SignIn, alan: User) -> None:
    page = text_of(as_(alan).get(PAGE))

    assert "You have no tokens." in page
    assert "New token" in page


def test_lists_what_counts_and_is_mine(as_: SignIn, alan: User, grace: User) -> None:
    shown, _ = make_token(alan, note="mine", scopes=["read:users!user"])
    make_token(grace, note="of grace")

    page = text_of(as_(alan).get(PAGE))

    assert "mine" in page
    assert "See users with their groups and activity (only your own)" in page
    assert f"/hub/token/{shown}/revoke" in page
    assert "of grace" not in page


def test_a_disabled_token_shows_who_disabled_it(
    as_: SignIn, alan: User, grace: User
) -> None:
    make_token(alan, note="for the report")
    disable_tokens(APIToken.objects.all(), by=Actor("user", "grace"))

    page = text_of(as_(alan).get(PAGE))

    assert ">disabled</span>" in page
    assert "by grace, " in page
    assert ">active</span>" not in page


def test_what_has_ended_is_listed_apart_with_who_ended_it(
    as_: SignIn, alan: User
) -> None:
    now = timezone.now()
    make_token(alan, note="still in use")
    expired, _ = make_token(alan, note="of last week")
    APIToken.objects.filter(pk=expired.pk).update(expires_at=now - timedelta(days=7))
    for name, note in (("alan", "lost laptop"), ("ops", "found in a repository")):
        token, _ = make_token(alan, note=note)
        revoke_token(token, by=Actor("user", name))

    page = text_of(as_(alan).get(PAGE))

    yours = page.partition('id="yours"')[2]
    listed, _, ended = yours.partition('<details class="ended"')
    assert "still in use" in listed
    for note in ("of last week", "lost laptop", "found in a repository"):
        assert note not in listed
        assert note in ended
    assert "by you, " in ended
    assert "by ops, " in ended
    assert ended.count(">revoked</span>") == 2
    assert ended.count(">expired</span>") == 1
    assert f"/hub/token/{expired}/revoke" not in page


def test_shows_a_use_that_was_only_just_made(as_: SignIn, alan: User) -> None:
    _, secret = make_token(alan)
    assert "never" in last_used(text_of(as_(alan).get(PAGE)))

    verify(secret)

    assert "never" not in last_used(text_of(as_(alan).get(PAGE)))


def test_a_long_list_has_pages_and_costs_the_same(
    as_: SignIn, alan: User, django_assert_max_num_queries: Any
) -> None:
    browser = as_(alan)
    browser.get(PAGE)
    counts = []
    for number in (2, 58):
        for index in range(number):
            make_token(alan, note=f"note {number} {index}")
        activity.flush()
        with django_assert_max_num_queries(20) as queries:
            page = text_of(browser.get(PAGE))
        counts.append(len(queries))

    assert counts[0] == counts[1]
    assert "Page 1 of 2" in page
    assert "note 58 57" in page
    assert "note 2 0" in text_of(browser.get(PAGE, {"page": 2}))


def test_readers_without_the_right_to_change_see_no_form(as_: SignIn) -> None:
    reader = make_user("reader", roles=(), scopes=["read:tokens!user"])
    token, _ = make_token(reader)

    page = text_of(as_(reader).get(PAGE))

    assert "New token" not in page
    assert 'name="action"' not in page
    assert as_(reader).get(REQUEST).status_code == 403
    assert as_(reader).post(f"{PAGE}/{token}/revoke").status_code == 403


def test_a_right_over_others_is_none_over_oneself(as_: SignIn) -> None:
    helper = make_user("helper", roles=(), scopes=["tokens!group=data301"])

    assert as_(helper).post(REQUEST, ANSWERS).status_code == 403
    assert not APIToken.objects.exists()


# Requesting


def test_shows_the_secret_once(as_: SignIn, alan: User) -> None:
    browser = as_(alan)

    reply = browser.post(REQUEST, ANSWERS)

    page = text_of(reply)
    secret = secret_on(page)
    bearer = verify(secret)
    assert reply.status_code == 200
    assert "no-store" in reply["Cache-Control"]
    assert bearer is not None
    assert bearer.owner_name == "alan"
    token = APIToken.objects.get()
    assert (token.note, token.scopes) == ("for CI", ["inherit"])
    assert token.expires_at == token.created + timedelta(hours=1)
    curl = 'curl -H "Authorization: token $JUPYTERHUB_API_TOKEN" http://testserver'
    assert curl in page
    assert f"JUPYTERHUB_API_TOKEN={secret}" in page
    assert secret not in text_of(browser.get(PAGE))
    assert secret not in text_of(browser.get(REQUEST, follow=True))


def test_the_secret_rides_on_no_session_and_no_cookie(as_: SignIn, alan: User) -> None:
    browser = as_(alan)

    secret = secret_on(text_of(browser.post(REQUEST, ANSWERS)))

    kept = [str(session.get_decoded()) for session in Session.objects.all()]
    kept += [morsel.OutputString() for morsel in browser.cookies.values()]
    kept += [str(event.detail) for event in Event.objects.all()]
    assert not any(secret[-20:] in each or secret[20:40] in each for each in kept)


def test_the_act_is_recorded_with_its_actor(as_: SignIn, alan: User) -> None:
    as_(alan).post(REQUEST, ANSWERS)

    event = Event.objects.filter(action="token.issue").get()
    assert (event.actor_kind, event.actor_name) == ("user", "alan")
    assert event.address == "127.0.0.1"


def test_the_snippets_name_the_public_address(
    as_: SignIn, alan: User, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://hub.example"

    page = text_of(as_(alan).post(REQUEST, ANSWERS))

    assert "https://hub.example/hub/api/user" in page


@pytest.mark.parametrize("user", ["alan", "o'brien; touch gone", "$(touch gone) x"])
def test_the_lines_for_a_shell_take_any_name(user: str, tmp_path: Path) -> None:
    """The lines run in a shell, with a program in the place of Python's keyring."""
    found = {
        each.name: each
        for each in snippets(
            "hub_secret", api_url="https://h.example/hub/api", host="h", user=user
        )
    }
    program = tmp_path / "python3"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def said(lines: str) -> str:
        done = subprocess.run(
            ["/bin/bash", "-c", lines],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    (_, _), (_, get), _ = found["keyring"].hints
    print_token = "\nprintenv JUPYTERHUB_API_TOKEN"
    assert said(found["keyring"].text) == f"-m\nkeyring\nset\nh\n{user}\n"
    assert said(get + print_token) == f"-m\nkeyring\nget\nh\n{user}\n"
    (tmp_path / ".env").write_text(found["env"].text)
    (_, private), (_, load) = found["env"].hints
    assert said(f"{private}\n{load}{print_token}") == "hub_secret\n"
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert not (tmp_path / "gone").exists()


def test_a_form_that_is_sent_again_issues_nothing(as_: SignIn, alan: User) -> None:
    client = as_(alan)

    def form_id() -> str:
        page = client.get(REQUEST).content.decode()
        return re.search(r'name="form_id" value="([^"]+)"', page)[1]  # type: ignore[index]

    one, another = form_id(), form_id()
    assert client.post(REQUEST, {**ANSWERS, "form_id": one}).status_code == 200

    again = client.post(REQUEST, {**ANSWERS, "form_id": one}, follow=True)

    assert "This form has already issued its token" in text_of(again)
    assert APIToken.objects.count() == 1
    client.post(REQUEST, {**ANSWERS, "form_id": another})
    assert APIToken.objects.count() == 2


def test_an_empty_note_is_replaced_by_the_origin_of_the_token(
    as_: SignIn, alan: User
) -> None:
    as_(alan).post(REQUEST, {**ANSWERS, "note": "  "})

    assert APIToken.objects.get().note == DEFAULT_NOTE


def test_a_policy_may_require_a_note(as_: SignIn, alan: User, bearer: Any) -> None:
    TokenPolicy.objects.create(note_required=True)

    page = as_(alan).post(REQUEST, {**ANSWERS, "note": "  "})
    assert page.status_code == 400
    assert "A note is required" in text_of(page)
    _, secret = make_token(alan, note="calls the API")
    for body in ({}, {"note": ""}, {"note": " "}):
        reply = bearer(secret).post("/hub/api/users/alan/tokens", body)
        assert reply.status_code == 403
        assert "A note is required" in reply.json()["message"]
    assert APIToken.objects.count() == 1
    assert as_(alan).post(REQUEST, {**ANSWERS, "note": "CI"}).status_code == 200


def test_gives_what_was_picked_and_written(as_: SignIn, alan: User) -> None:
    picked = {
        **ANSWERS,
        "permissions": "chosen",
        "scopes": ["read:users!user", "servers!user"],
        "more_scopes": "read:tokens!user=alan,  access:servers!server=alan/lab",
    }

    as_(alan).post(REQUEST, picked)

    assert APIToken.objects.get().scopes == [
        "read:users!user",
        "servers!user",
        "read:tokens!user=alan",
        "access:servers!server=alan/lab",
    ]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"expires_in": "7"}, "Select a valid choice"),
        ({"expires_in": ""}, "This field is required"),
        ({"note": "x" * 1024}, "at most 1023 characters"),
        ({"note": "a\0b"}, "Null characters are not allowed"),
        ({"permissions": "other"}, "Select a valid choice"),
        ({"permissions": "chosen"}, "Pick at least one permission."),
        ({"scopes": ["read:users!user"]}, "You also picked single permissions."),
        ({"more_scopes": "shutdown"}, "You also picked single permissions."),
        (
            {"permissions": "chosen", "scopes": ["shutdown"]},
            "shutdown is not one of the available choices",
        ),
        (
            {"permissions": "chosen", "more_scopes": "shutdown"},
            "A token can't have rights that its owner lacks: shutdown",
        ),
        (
            {"permissions": "chosen", "more_scopes": "no:such"},
            "Scope 'no:such' for token does not exist",
        ),
    ],
)
def test_asks_again_and_keeps_what_was_entered(
    as_: SignIn, alan: User, answers: dict[str, Any], message: str
) -> None:
    reply = as_(alan).post(REQUEST, {**ANSWERS, "note": "kept note", **answers})

    page = text_of(reply)
    assert reply.status_code == 400
    assert message in page
    assert 'role="alert"' in page
    assert not APIToken.objects.exists()
    if "note" not in answers:
        assert 'value="kept note"' in page
    if "more_scopes" in answers:
        assert f'value="{answers["more_scopes"]}"' in page
    if answers.get("scopes") == ["read:users!user"]:
        assert re.search(r'value="read:users!user"[^>]* checked', page)
    if "expires_in" not in answers:
        assert '<option value="3600" selected>' in page


# What is offered


def test_offers_only_what_is_held(alan: User, ada: User) -> None:
    of_alan = {scope for _, choices in offer(alan) for scope, *_ in choices}
    of_ada = {scope for _, choices in offer(ada) for scope, *_ in choices}

    assert "servers!user" in of_alan
    assert "shutdown" not in of_alan
    assert "shutdown" in of_ada
    assert "servers!user" not in of_ada


def test_all_that_is_offered_can_be_had(
    as_: SignIn, alan: User, ada: User, grace: User
) -> None:
    for user in (alan, ada, grace):
        scopes = [scope for _, choices in offer(user) for scope, *_ in choices]
        chosen = {**ANSWERS, "permissions": "chosen", "scopes": scopes}

        assert as_(user).post(REQUEST, chosen).status_code == 200

        assert APIToken.objects.latest("pk").access.scopes == user.access.scopes


def test_every_offered_scope_has_words(ada: User) -> None:
    for _, choices in offer(ada):
        for scope, words, _ in choices:
            assert words
            assert words != scope


@time_machine.travel(datetime(2030, 1, 1, 12, tzinfo=UTC), tick=False)
@pytest.mark.parametrize(
    ("maximum", "choices", "preselected"),
    [
        (0, [*TO_A_MONTH, "7776000", "31536000", "never", "date"], "2592000"),
        (31_536_000, [*TO_A_MONTH, "7776000", "31536000", "date"], "2592000"),
        (2_592_000, [*TO_A_MONTH, "date"], "2592000"),
        (172_800, ["3600", "86400", "max", "date"], "max"),
        (86_400, ["3600", "86400"], "86400"),
        (600, ["max"], "max"),
    ],
)
def test_a_maximum_takes_longer_lifetimes_away(
    alan: User, settings: Any, maximum: int, choices: list[str], preselected: str
) -> None:
    settings.HUB = replace(settings.HUB, token_expires_in_max_seconds=maximum)
    form = TokenForm(user=alan, now=timezone.now())

    assert [value for value, _ in lifetimes(timezone.now())] == choices
    assert form["expires_in"].value() == preselected


@time_machine.travel(datetime(2030, 1, 1, 12, tzinfo=UTC), tick=False)
def test_lifetimes_show_when_they_end(settings: Any) -> None:
    words = dict(lifetimes(timezone.now()))
    settings.HUB = replace(settings.HUB, token_expires_in_max_seconds=172_800)
    capped = dict(lifetimes(timezone.now()))

    assert words["3600"] == "1 hour (1 Jan, 13:00)"
    assert words["2592000"] == "1 month (31 Jan 2030)"
    assert capped["max"] == "Max: 2\xa0days (3 Jan, 12:00)"


def test_the_maximum_is_what_max_gives(as_: SignIn, alan: User, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, token_expires_in_max_seconds=172_800)

    as_(alan).post(REQUEST, {**ANSWERS, "expires_in": "max"})

    token = APIToken.objects.get()
    assert token.expires_at == token.created + timedelta(days=2)


# Revoking


def test_asks_before_it_revokes(as_: SignIn, alan: User) -> None:
    token, secret = make_token(alan, note="old laptop")
    browser = as_(alan)

    page = text_of(browser.get(f"{PAGE}/{token}/revoke"))
    assert "Revoke this token?" in page
    assert "old laptop" in page
    assert verify(secret) is not None

    reply = browser.post(f"{PAGE}/{token}/revoke", follow=True)

    assert verify(secret) is None
    assert reply.redirect_chain == [(PAGE, 302)]
    assert "Revoked the token “old laptop”." in text_of(reply)


def test_the_page_of_an_ended_token_redirects(
    as_: SignIn, alan: User, grace: User
) -> None:
    revoked, _ = make_token(alan)
    expired, _ = make_token(alan)
    of_another, _ = make_token(grace)
    now = timezone.now()
    APIToken.objects.filter(pk=expired.pk).update(expires_at=now)
    APIToken.objects.exclude(pk=expired.pk).update(revoked_at=now)
    browser = as_(alan)

    for token in (revoked, expired):
        for ask in (browser.get, browser.post):
            reply = ask(f"{PAGE}/{token}/revoke", follow=True)
            assert reply.redirect_chain == [(PAGE, 302)]
            assert "already been revoked or has expired" in text_of(reply)
    assert browser.get(f"{PAGE}/{of_another}/revoke").status_code == 404
    assert browser.get(f"{PAGE}/a999999/revoke").status_code == 404


# Applications


def obtained(user: User, service: str, *scopes: str, days: int = 0) -> APIToken:
    """Return a token that a service obtained for a user some days ago."""
    token, _ = make_token(user, client_id=f"service-{service}", scopes=scopes)
    created = timezone.now() - timedelta(days=days)
    APIToken.objects.filter(pk=token.pk).update(created=created)
    return token


def test_lists_an_application_once_with_all_it_may(as_: SignIn, alan: User) -> None:
    make_client("lab", description="The lab")
    obtained(alan, "lab", "read:users!user", days=9)
    newest = obtained(alan, "lab", "access:services!service=lab")
    APIToken.objects.filter(pk=newest.pk).update(last_activity=timezone.now())

    page = text_of(as_(alan).get(PAGE))
    table = page[page.index("Authorized applications") :]

    assert "You have no tokens." in page
    assert table.count('class="break">The lab<') == 1
    assert "2 permissions" in table
    assert "See users with their groups and activity (only your own)" in table
    assert "1 week, 2 days ago" in table.replace("\xa0", " ")
    assert "now" in table


def test_an_application_that_is_gone_is_called_by_its_id(
    as_: SignIn, alan: User
) -> None:
    obtained(alan, "gone")

    assert "service-gone" in text_of(as_(alan).get(PAGE))


def test_applications_of_others_are_not_listed(
    as_: SignIn, alan: User, mallory: User
) -> None:
    make_client("lab", description="The lab")
    obtained(mallory, "lab")

    assert "Authorized applications" not in text_of(as_(alan).get(PAGE))


def test_ends_all_that_an_application_holds(as_: SignIn, alan: User) -> None:
    make_client("lab", description="The lab")
    token = obtained(alan, "lab")
    obtained(alan, "lab", "read:users!user")
    kept, _ = make_token(alan)

    page = text_of(as_(alan).get(f"{PAGE}/{token}/revoke"))
    reply = as_(alan).post(f"{PAGE}/{token}/revoke", follow=True)

    assert "Revoke this application?" in page
    assert '“<span class="break">The lab</span>” loses access' in page
    assert "Revoked all access of “The lab”." in text_of(reply)
    assert APIToken.objects.get(revoked_at=None) == kept


def test_many_applications_cost_as_few_queries(
    as_: SignIn, alan: User, django_assert_max_num_queries: Any
) -> None:
    browser = as_(alan)
    browser.get(PAGE)
    counts = []
    for number in (2, 20):
        for index in range(number):
            make_client(f"lab{number}-{index}")
            obtained(alan, f"lab{number}-{index}")
        activity.flush()
        with django_assert_max_num_queries(20) as queries:
            browser.get(PAGE)
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("who", ["ada", "mallory"])
def test_tokens_of_others_do_not_exist_here(
    as_: SignIn, alan: User, who: str, request: pytest.FixtureRequest
) -> None:
    token, secret = make_token(alan)
    browser = as_(request.getfixturevalue(who))

    assert browser.get(f"{PAGE}/{token}/revoke").status_code == 404
    assert browser.post(f"{PAGE}/{token}/revoke").status_code == 404
    assert verify(secret) is not None


def test_forged_posts_change_nothing(alan: User) -> None:
    token, secret = make_token(alan)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alan, "django.contrib.auth.backends.ModelBackend")

    assert browser.post(REQUEST, ANSWERS).status_code == 403
    assert browser.post(f"{PAGE}/{token}/revoke").status_code == 403

    assert verify(secret) is not None
    assert APIToken.objects.count() == 1
