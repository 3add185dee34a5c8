"""The endpoint where clients exchange codes for tokens."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.sessions import SESSION_ID
from audit.models import Event
from oauth.models import OAuthClient, OAuthCode
from services.models import Service
from tests.conftest import API
from tests.factories import make_client, make_group, make_server, make_share
from tests.oauth.conftest import SECRET, TOKEN, SignIn
from tokens.models import APIToken, APITokenQuerySet
from tokens.verification import verify

pytestmark = pytest.mark.django_db

VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest())
    .decode()
    .rstrip("=")
)


def obtained() -> APITokenQuerySet:
    """Return the tokens of clients, without those that are the clients' secrets."""
    return APIToken.objects.exclude(client_id="")


def test_a_token_for_a_code(sign_in: SignIn, visitor: User, bearer: Any) -> None:
    session = sign_in.browser.session
    session[SESSION_ID] = "5e55104"
    session.save()

    reply = sign_in.trade(sign_in.code())

    assert reply.status_code == 200
    assert reply["Content-Type"] == "application/json"
    assert reply["Cache-Control"] == "no-store"
    assert reply["Pragma"] == "no-cache"
    body = reply.json()
    assert body.keys() == {"access_token", "expires_in", "token_type", "scope"}
    assert body["expires_in"] == 1209600
    assert body["token_type"] == "Bearer"
    assert body["scope"].split() == [
        "access:services!service=portal",
        "read:users!user",
        "read:users:groups!user",
        "read:users:name!user",
        "tokens!user",
    ]
    token = obtained().get()
    assert token.user == visitor
    assert token.client_id == "service-portal"
    assert token.session_id == "5e55104"
    assert token.note == ""
    assert token.expires_at - token.created == timedelta(seconds=1209600)
    me = bearer(body["access_token"]).get(f"{API}/user").json()
    assert me["name"] == "mallory"
    assert me["session_id"] == "5e55104"
    assert "access:services!service=portal" in me["scopes"]


def test_it_is_recorded_who_fetched_it(sign_in: SignIn) -> None:
    sign_in.token()

    event = Event.objects.filter(action="token.issue").latest("id")
    assert (event.actor_kind, event.actor_name) == ("service", "portal")
    assert event.detail["owner"] == "mallory"
    assert event.detail["client_id"] == "service-portal"


@pytest.mark.parametrize(
    ("changes", "status", "body"),
    [
        ({"client_secret": "wrong"}, 401, {"error": "invalid_client"}),
        ({"client_secret": None}, 401, {"error": "invalid_client"}),
        ({"client_secret": "groß"}, 401, {"error": "invalid_client"}),
        ({"client_id": "service-unknown"}, 401, {"error": "invalid_client"}),
        ({"client_id": "a\0"}, 401, {"error": "invalid_client"}),
        ({"code": "0000"}, 400, {"error": "invalid_grant"}),
        (
            {"code": None},
            400,
            {
                "error": "invalid_request",
                "error_description": "Missing code parameter.",
            },
        ),
        (
            {"redirect_uri": "https://portal.example/other"},
            400,
            {
                "error": "invalid_request",
                "error_description": "Mismatching redirect URI.",
            },
        ),
        ({"grant_type": None}, 400, {"error": "unsupported_grant_type"}),
        ({"grant_type": "password"}, 400, {"error": "unsupported_grant_type"}),
        ({"grant_type": "openid"}, 400, {"error": "unsupported_grant_type"}),
        ({"grant_type": "refresh_token"}, 400, {"error": "unsupported_grant_type"}),
    ],
)
def test_a_refusal_leaves_the_code_as_it_was(
    sign_in: SignIn, changes: dict[str, Any], status: int, body: dict[str, str]
) -> None:
    code = sign_in.code()

    refused = sign_in.trade(**{"code": code, **changes})

    assert refused.status_code == status
    assert refused.json() == body
    if status == 401:
        assert refused["WWW-Authenticate"] == 'Bearer error="invalid_client"'
    assert not obtained().exists()
    assert sign_in.trade(code).status_code == 200


def test_a_code_works_once(sign_in: SignIn) -> None:
    code = sign_in.code()
    sign_in.trade(code)

    again = sign_in.trade(code)

    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})
    assert obtained().count() == 1


def test_a_code_lasts_five_minutes(sign_in: SignIn) -> None:
    code = sign_in.code()

    with time_machine.travel(timezone.now() + timedelta(seconds=301), tick=False):
        # Whoever trades sweeps up.
        late = sign_in.trade(code)
        sign_in.code()

    assert late.json() == {"error": "invalid_grant"}
    assert OAuthCode.objects.count() == 1


def test_a_code_of_another_client_is_none(sign_in: SignIn) -> None:
    make_client("other", SECRET)

    refused = sign_in.trade(sign_in.code(), client_id="service-other")

    assert refused.json() == {"error": "invalid_grant"}


def test_a_code_of_an_account_that_was_closed_is_none(
    sign_in: SignIn, visitor: User
) -> None:
    code = sign_in.code()
    User.objects.filter(pk=visitor.pk).update(is_active=False)

    assert sign_in.trade(code).json() == {"error": "invalid_grant"}


def test_what_was_not_asked_for_is_not_given(sign_in: SignIn) -> None:
    assert "tokens" not in sign_in.token(scope="read:users!user")["scope"]


def test_the_redirect_uri_may_stay_unsaid(sign_in: SignIn) -> None:
    code = sign_in.code(redirect_uri=None)

    assert sign_in.trade(code, redirect_uri=None).status_code == 200


@pytest.mark.parametrize("redirect_uri", [None, ""])
def test_the_redirect_uri_that_was_said_comes_again(
    sign_in: SignIn, redirect_uri: str | None
) -> None:
    """RFC 6749, 4.1.3; and so a code that was caught elsewhere is worth less."""
    code = sign_in.code()

    refused = sign_in.trade(code, redirect_uri=redirect_uri)

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert sign_in.trade(code).status_code == 200


@pytest.mark.parametrize(
    ("redirect_uri", "status"),
    [("https://portal.example/callback", 200), ("https://portal.example/x", 400)],
)
def test_what_stayed_unsaid_may_be_said_later(
    sign_in: SignIn, redirect_uri: str, status: int
) -> None:
    assert sign_in.client.redirect_uri == "https://portal.example/callback"
    code = sign_in.code(redirect_uri=None)

    assert sign_in.trade(code, redirect_uri=redirect_uri).status_code == status


@pytest.mark.parametrize("name", ["client_id", "grant_type", "redirect_uri"])
def test_parameters_of_a_trade_come_once(sign_in: SignIn, name: str) -> None:
    fields = {
        "client_id": sign_in.client.identifier,
        "client_secret": SECRET,
        "grant_type": "authorization_code",
        "code": sign_in.code(),
        "redirect_uri": sign_in.client.redirect_uri,
    }
    body = urlencode([*fields.items(), (name, fields[name])])

    reply = Client().post(TOKEN, body, content_type="application/x-www-form-urlencoded")

    assert reply.status_code == 400
    assert reply.json()["error_description"] == f"Duplicate {name} parameter."


def test_the_answer_lists_what_comes_beside_everything(sign_in: SignIn) -> None:
    OAuthClient.objects.update(allowed_scopes=["inherit"])

    token = sign_in.token()

    assert set(token["scope"].split()) == {
        "inherit",
        "access:services!service=portal",
        "read:users:groups!user",
        "read:users:name!user",
    }
    assert obtained().get().scopes == ["inherit"]


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_programs_get_json_for_a_wrong_method(
    as_: Any, mallory: User, method: str, accept: str
) -> None:
    for client in (Client(), as_(mallory)):
        reply = getattr(client, method)(TOKEN, headers={"accept": accept})

        assert (reply.status_code, reply["Allow"]) == (405, "POST, OPTIONS")
        assert reply["Content-Type"] == "application/json"
        assert reply.json()["status"] == 405


@pytest.mark.parametrize(
    ("challenge", "method"),
    [(CHALLENGE, "S256"), (VERIFIER, "plain"), (VERIFIER, None)],
)
def test_a_challenge_is_answered_by_its_verifier(
    sign_in: SignIn, challenge: str, method: str | None
) -> None:
    code = sign_in.code(code_challenge=challenge, code_challenge_method=method)

    missing = sign_in.trade(code)
    wrong = sign_in.trade(code, code_verifier="w" * 43)
    right = sign_in.trade(code, code_verifier=VERIFIER)

    assert missing.status_code == 400
    assert missing.json() == {
        "error": "invalid_request",
        "error_description": "Code verifier required.",
    }
    assert (wrong.status_code, wrong.json()) == (400, {"error": "invalid_grant"})
    assert right.status_code == 200


def test_the_secret_counts_in_the_body_alone(sign_in: SignIn) -> None:
    code = sign_in.code()
    basic = base64.b64encode(f"service-portal:{SECRET}".encode()).decode()

    reply = Client(headers={"authorization": f"Basic {basic}"}).post(
        TOKEN, {"grant_type": "authorization_code", "code": code}
    )

    assert reply.status_code == 401


def test_a_body_of_another_form_and_other_methods(sign_in: SignIn) -> None:
    fields = {
        "client_id": "service-portal",
        "client_secret": SECRET,
        "grant_type": "authorization_code",
        "code": sign_in.code(),
        "redirect_uri": sign_in.client.redirect_uri,
    }

    assert Client().get(TOKEN).status_code == 405
    assert Client().post(TOKEN, fields).status_code == 200
    as_json = Client().post(TOKEN, fields, content_type="application/json")
    assert as_json.json() == {"error": "unsupported_grant_type"}


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream"])
def test_a_form_is_read_whatever_its_content_type(
    sign_in: SignIn, content_type: str
) -> None:
    fields = {
        "client_id": "service-portal",
        "client_secret": SECRET,
        "grant_type": "authorization_code",
        "code": sign_in.code(),
        "redirect_uri": sign_in.client.redirect_uri,
    }
    twice = urlencode([*fields.items(), ("code", "x")])

    refused = Client().post(TOKEN, twice, content_type=content_type)
    reply = Client().post(TOKEN, urlencode(fields), content_type=content_type)

    assert (refused.status_code, reply.status_code) == (400, 200)


# What the token is worth


def test_short_filters_mean_the_client(sign_in: SignIn, visitor: User) -> None:
    OAuthClient.objects.update(allowed_scopes=["read:services!service"])
    visitor.roles.get(name="visitors")
    sign_in.token()
    token = obtained().get()
    APIToken.objects.update(scopes=["access:services!service"])
    token.refresh_from_db()

    assert token.access.allows("access:services", obj=Service.objects.get())


def test_the_row_that_verifies_a_token_names_its_client(
    sign_in: SignIn, django_assert_num_queries: Any
) -> None:
    secret = sign_in.token()["access_token"]
    APIToken.objects.update(scopes=["access:services!service"])

    with django_assert_num_queries(1):
        bearer = verify(secret)

    assert bearer is not None
    assert bearer.access.allows("access:services", obj=Service.objects.get())


def test_a_servers_token_reaches_the_server_that_is_shared_with_a_group(
    mallory: User, alan: User, as_: Any
) -> None:
    make_share(make_server(alan), group=make_group("guests", users=[mallory]))
    server = make_client("x", SECRET, identifier="jupyterhub-user-alan", server="alan/")

    secret = SignIn(server, as_(mallory)).token()["access_token"]

    bearer = verify(secret)
    assert bearer is not None
    assert "access:servers!server=alan/" in bearer.access.scopes


def test_signing_out_ends_the_tokens_of_the_session(sign_in: SignIn) -> None:
    session = sign_in.browser.session
    session[SESSION_ID] = "5e55104"
    session.save()
    secret = sign_in.token()["access_token"]
    assert verify(secret)

    sign_in.browser.get("/hub/logout")

    assert verify(secret) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_who_trade_one_code_one_succeeds(sign_in: SignIn) -> None:
    code = sign_in.code()

    def trade(_: int) -> int:
        try:
            return sign_in.trade(code).status_code
        finally:
            connections.close_all()

    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        statuses = [trade(0), trade(1)]
    else:
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(trade, range(4)))

    assert statuses.count(200) == 1
    assert obtained().count() == 1
