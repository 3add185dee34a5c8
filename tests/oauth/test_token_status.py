"""Introspection, revocation and discovery, by RFC 7662, RFC 7009 and RFC 8414."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from oauthlib.oauth2 import (
    IntrospectEndpoint,
    MetadataEndpoint,
    RequestValidator,
    RevocationEndpoint,
)

from accounts.models import User
from audit.models import Actor, Event
from oauth.models import OAuthClient
from services.models import Service
from tests.conftest import API
from tests.factories import (
    make_client,
    make_group,
    make_role,
    make_server,
    make_service,
    make_token,
)
from tests.oauth.conftest import SECRET, SignIn
from tokens.actions.pausing import disable_tokens
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

INTROSPECT = f"{API}/oauth2/introspect"
REVOKE = f"{API}/oauth2/revoke"
WELL_KNOWN = "/.well-known/oauth-authorization-server"
FORM = "application/x-www-form-urlencoded"
PORTAL = {"client_id": "service-portal", "client_secret": SECRET}
INACTIVE = {"active": False}


def send(path: str, fields: Any, credentials: str = "", **extra: Any) -> Any:
    headers = {"authorization": credentials} if credentials else {}
    return Client(headers=headers).post(
        path, urlencode(fields), content_type=FORM, **extra
    )


def basic(identifier: str, secret: str) -> str:
    pair = f"{identifier}:{secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def as_token(secret: str) -> str:
    return f"Bearer {secret}"


# Introspection


def test_a_client_learns_about_its_token(sign_in: SignIn, visitor: User) -> None:
    secret = sign_in.token()["access_token"]

    reply = send(INTROSPECT, {"token": secret, **PORTAL})

    assert reply.status_code == 200
    assert reply["Cache-Control"] == "no-store"
    assert reply["Content-Type"] == "application/json"
    token = APIToken.objects.exclude(client_id="").get()
    body = reply.json()
    scopes = body.pop("scope").split()
    assert "access:services!service=portal" in scopes
    assert scopes == sorted(verify(secret).access.scopes)
    assert body == {
        "active": True,
        "client_id": "service-portal",
        "token_type": "Bearer",
        "iss": "http://testserver",
        "sub": "user:mallory",
        "username": "mallory",
        "kind": "user",
        "jti": f"a{token.pk}",
        "iat": int(token.created.timestamp()),
        "exp": int(token.expires_at.timestamp()),
    }


def test_a_token_without_an_end_has_no_exp(portal: OAuthClient, ci: Service) -> None:
    _, secret = make_token(ci)

    body = send(INTROSPECT, {"token": secret}, as_token(secret)).json()

    assert body["active"] is True
    assert body["sub"] == "service:ci"
    assert "exp" not in body
    assert "client_id" not in body


def test_a_client_learns_about_tokens_that_open_its_service(
    portal: OAuthClient, visitor: User
) -> None:
    opens = make_token(visitor, scopes=["access:services!service=portal"])[1]
    opens_not = make_token(visitor, scopes=["read:users!user"])[1]

    assert send(INTROSPECT, {"token": opens, **PORTAL}).json()["active"] is True
    assert send(INTROSPECT, {"token": opens_not, **PORTAL}).json() == INACTIVE


def test_a_server_learns_about_tokens_that_open_it(grace: User, alan: User) -> None:
    make_server(alan, "lab")
    make_client("lab", SECRET, server="alan/lab", identifier="jupyterhub-user-alan-lab")
    lab = {"client_id": "jupyterhub-user-alan-lab", "client_secret": SECRET}
    make_role("visits", "access:servers!group=data301", users=[grace])
    leader = make_token(grace, scopes=["access:servers!group=data301"])[1]
    owner = make_token(alan, scopes=["access:servers!server=alan/lab"])[1]
    other = make_token(alan, scopes=["access:servers!server=alan/"])[1]

    assert send(INTROSPECT, {"token": leader, **lab}).json()["active"] is True
    assert send(INTROSPECT, {"token": owner, **lab}).json()["active"] is True
    assert send(INTROSPECT, {"token": other, **lab}).json() == INACTIVE


@pytest.mark.parametrize(
    ("scopes", "is_told"),
    [
        (["read:tokens"], True),
        (["read:tokens!user=alan"], True),
        (["read:tokens!group=data301"], True),
        (["read:tokens!user=grace"], False),
        (["read:tokens!group=art"], False),
        (["read:users"], False),
        ([], False),
    ],
)
def test_holders_of_read_tokens_learn_about_those_that_they_may_read(
    alan: User, scopes: list[str], is_told: bool
) -> None:
    make_group("art")
    secret = make_token(alan)[1]
    caller = make_token(make_service("auditor", scopes=scopes))[1]

    reply = send(INTROSPECT, {"token": secret}, as_token(caller))

    assert reply.status_code == 200
    assert reply.json()["active"] is is_told
    if not is_told:
        assert reply.json() == INACTIVE


@pytest.mark.parametrize("state", ["unknown", "forged", "expired", "disabled", "gone"])
def test_tokens_that_do_not_work_are_inactive(state: str, ada: User) -> None:
    token, secret = make_token(ada, expires_in=60)
    caller = as_token(make_token(ada)[1])
    later = timezone.now()
    if state == "unknown":
        secret = "nobody-made-this-one"
    if state == "forged":
        secret = f"hub_{'0' * 12}_{'0' * 60}"
    if state == "expired":
        later += timedelta(seconds=61)
    if state == "disabled":
        disable_tokens(APIToken.objects.filter(pk=token.pk), by=Actor.system("test"))
    if state == "gone":
        APIToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())

    with time_machine.travel(later):
        reply = send(INTROSPECT, {"token": secret}, caller)

    assert (reply.status_code, reply.json()) == (200, INACTIVE)


@pytest.mark.parametrize(
    ("fields", "credentials", "status", "error", "challenge"),
    [
        ({}, "", 401, "invalid_client", "Bearer"),
        ({"client_id": "service-portal"}, "", 401, "invalid_client", "Bearer"),
        (PORTAL | {"client_secret": "no"}, "", 401, "invalid_client", "Bearer"),
        ({}, basic("service-portal", "no"), 401, "invalid_client", "Basic"),
        ({}, "Basic ???", 401, "invalid_client", "Basic"),
        ({}, basic("a\0", "no"), 401, "invalid_client", "Basic"),
        ({}, "Bearer unknown-token", 401, "invalid_token", "Bearer"),
        (PORTAL, basic("service-portal", SECRET), 400, "invalid_request", ""),
        (
            {"client_id": "service-other"},
            basic("service-portal", SECRET),
            400,
            "invalid_request",
            "",
        ),
        ({"token": None}, "", 400, "invalid_request", ""),
        ({"token": ""}, basic("service-portal", SECRET), 400, "invalid_request", ""),
    ],
)
def test_callers_who_do_not_prove_themselves_are_refused(
    portal: OAuthClient,
    fields: dict[str, Any],
    credentials: str,
    status: int,
    error: str,
    challenge: str,
) -> None:
    sent = {"token": "t" * 40, **fields}
    sent = {key: value for key, value in sent.items() if value is not None}

    reply = send(INTROSPECT, sent, credentials)

    assert reply.status_code == status
    assert reply.json()["error"] == error
    assert reply["Cache-Control"] == "no-store"
    assert reply.get("WWW-Authenticate", "").partition(" ")[0] == challenge


def test_basic_authentication_is_accepted(portal: OAuthClient, visitor: User) -> None:
    secret = make_token(visitor, scopes=["access:services!service=portal"])[1]

    reply = send(INTROSPECT, {"token": secret}, basic("service%2Dportal", SECRET))

    assert reply.json()["active"] is True


def test_a_client_and_a_token_at_once_are_refused(portal: OAuthClient, ci: Any) -> None:
    secret = make_token(ci)[1]

    reply = send(INTROSPECT, {"token": secret, **PORTAL}, as_token(secret))

    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", [INTROSPECT, REVOKE])
def test_requests_that_are_no_form_are_refused(path: str, bearer: Any) -> None:
    caller = Client()
    refused = [
        caller.post(path, {"token": "t"}, content_type="application/json"),
        caller.post(path, {"token": "t"}),
        caller.post(f"{path}?token=t", "token=t", content_type=FORM),
        caller.post(path, "token=t&token=t", content_type=FORM),
        caller.post(path, "token=%00", content_type="text/plain"),
        caller.generic("POST", path, b"token=t", f"{FORM}; charset=latin-1"),
        caller.post(path, "&".join(f"a{n}=1" for n in range(2000)), content_type=FORM),
    ]

    assert [reply.status_code for reply in refused] == [400] * 7
    for reply in refused:
        assert reply.json()["error"] == "invalid_request", reply.content
    large = caller.post(path, "token=" + "t" * 70_000, content_type=FORM)
    assert (large.status_code, large.json()["error"]) == (413, "invalid_request")
    read = caller.get(path)
    assert (read.status_code, read["Allow"]) == (405, "POST, OPTIONS")
    assert read.json()["error"] == "invalid_request"


def test_a_session_is_no_credential(as_: Any, ada: User) -> None:
    secret = make_token(ada)[1]

    reply = as_(ada).post(INTROSPECT, urlencode({"token": secret}), content_type=FORM)

    assert reply.status_code == 401


# Revocation


def test_a_holder_revokes_a_token(mallory: User) -> None:
    token, secret = make_token(mallory)
    other = make_token(mallory)[1]

    reply = send(REVOKE, {"token": secret, "client_id": "hub-token"})

    assert reply.status_code == 200
    assert reply["Cache-Control"] == "no-store"
    assert verify(secret) is None
    assert verify(other) is not None
    event = Event.objects.get(action="token.revoke")
    assert (event.actor_kind, event.actor_name) == ("user", "mallory")
    assert event.detail["names"] == [f"a{token.pk}"]
    assert event.token_id == token.pk


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", ""])
def test_hints_do_not_matter(mallory: User, hint: str) -> None:
    secret = make_token(mallory)[1]

    assert send(REVOKE, {"token": secret, "token_type_hint": hint}).status_code == 200

    assert verify(secret) is None


def test_a_disabled_token_is_revoked_for_good(mallory: User) -> None:
    token, secret = make_token(mallory)
    disable_tokens(APIToken.objects.filter(pk=token.pk), by=Actor.system("test"))

    assert send(REVOKE, {"token": secret}).status_code == 200

    token.refresh_from_db()
    assert token.revoked_at is not None


def test_an_earlier_secret_is_revoked_alone(mallory: User) -> None:
    token, first = make_token(mallory)
    _, second = rotate_token(token, by=Actor.system("test"), overlap=600)

    reply = send(REVOKE, {"token": first})

    assert (reply.status_code, reply.json()) == (200, {})
    assert verify(first) is None and verify(second) is not None
    event = Event.objects.get(action="token.end_secret")
    assert (event.actor_name, event.target_name) == ("mallory", str(token))
    send(REVOKE, {"token": second})
    assert verify(second) is None


def test_what_is_no_valid_token_needs_no_revocation(mallory: User) -> None:
    secret = make_token(mallory)[1]
    assert send(REVOKE, {"token": secret}).status_code == 200

    for again in (secret, "nobody-made-this-one", f"hub_{'0' * 12}_{'0' * 60}", "ü\0"):
        reply = send(REVOKE, {"token": again})
        assert (reply.status_code, reply.json()) == (200, {})

    assert Event.objects.filter(action="token.revoke").count() == 1


def test_a_client_revokes_one_of_its_tokens(sign_in: SignIn) -> None:
    first = sign_in.token()["access_token"]
    second = sign_in.token()["access_token"]

    reply = send(REVOKE, {"token": first}, basic("service-portal", SECRET))

    assert reply.status_code == 200
    assert verify(first) is None
    assert verify(second) is not None
    event = Event.objects.get(action="token.revoke")
    assert (event.actor_kind, event.actor_name) == ("service", "portal")


def test_nobody_revokes_the_tokens_of_another_client(
    sign_in: SignIn, mallory: User
) -> None:
    obtained = sign_in.token()["access_token"]
    make_client("other", "secret-of-the-other-client")
    other = {
        "client_id": "service-other",
        "client_secret": "secret-of-the-other-client",
    }
    plain = make_token(mallory)[1]

    refused = [
        send(REVOKE, {"token": obtained, **other}),
        send(REVOKE, {"token": obtained}),
        send(REVOKE, {"token": plain, **other}),
    ]

    for reply in refused:
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")
    assert verify(obtained) is not None
    assert verify(plain) is not None


def test_a_client_with_a_wrong_secret_revokes_nothing(
    portal: OAuthClient, mallory: User
) -> None:
    secret = make_token(mallory)[1]

    for credentials in (PORTAL | {"client_secret": "no"}, PORTAL | {"client_id": "x"}):
        reply = send(REVOKE, {"token": secret, **credentials})
        assert (reply.status_code, reply.json()["error"]) == (401, "invalid_client")

    assert verify(secret) is not None


# Discovery


@pytest.mark.parametrize("path", [WELL_KNOWN, f"/hub{WELL_KNOWN}"])
def test_clients_discover_the_endpoints(path: str) -> None:
    reply = Client().get(path)

    assert reply.status_code == 200
    assert reply["Content-Type"] == "application/json"
    body = reply.json()
    assert body["issuer"] == "http://testserver"
    api = "http://testserver/hub/api/oauth2"
    assert body["authorization_endpoint"] == f"{api}/authorize"
    assert body["token_endpoint"] == f"{api}/token"
    assert body["introspection_endpoint"] == f"{api}/introspect"
    assert body["revocation_endpoint"] == f"{api}/revoke"
    assert body["code_challenge_methods_supported"] == ["plain", "S256"]
    assert "read:users" in body["scopes_supported"]


def test_the_public_address_is_the_issuer(settings: Any) -> None:
    settings.PUBLIC_URL = "https://hub.example"

    body = Client().get(WELL_KNOWN).json()

    assert body["issuer"] == "https://hub.example"
    assert body["token_endpoint"] == "https://hub.example/hub/api/oauth2/token"
    # oauthlib knows the rules of RFC 8414.
    validator = RequestValidator()
    MetadataEndpoint(
        [IntrospectEndpoint(validator), RevocationEndpoint(validator)], body
    )


def test_every_endpoint_in_the_document_exists() -> None:
    body = Client().get(WELL_KNOWN).json()

    for name, address in body.items():
        if name.endswith("_endpoint"):
            assert Client().options(address).status_code != 404, name
