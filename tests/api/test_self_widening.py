"""A token frees itself of nothing, at any address."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from scopes.refusals import Forbidden
from tests.factories import BY, make_service, make_token, make_user
from tokens.actions.changes import extend_token, set_limits
from tokens.actions.pausing import (
    disable_tokens,
    enable_tokens,
    freeze_tokens,
    unfreeze_tokens,
)
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

API = "/hub/api"
JSON = {"content_type": "application/json"}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


def row(token: APIToken) -> dict[str, Any]:
    """Return all that is stored of a token but the traces of its use."""
    found = APIToken.objects.filter(pk=token.pk).values().get()
    return {key: value for key, value in found.items() if "last_" not in key}


def exchange(secret: str, **fields: str) -> Any:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": secret,
        "subject_token_type": ACCESS,
        **fields,
    }
    return Client().post(
        f"{API}/oauth2/token",
        urlencode(form),
        content_type="application/x-www-form-urlencoded",
    )


@pytest.fixture
def limited(alan: User) -> tuple[APIToken, str]:
    """Return a token that manages tokens, with limits of every kind."""
    return make_token(
        alan,
        scopes=["tokens!user"],
        expires_in=3600,
        networks=["127.0.0.0/8"],
        rate_limit=500,
    )


# The addresses of the token itself

WIDER: list[dict[str, Any]] = [
    {"scopes": ["inherit"]},
    {"scopes": ["tokens!user", "servers!user"]},
    {"expires_in": None},
    {"expires_in": 7200},
    {"networks": None},
    {"networks": ["0.0.0.0/0"]},
    {"networks": ["127.0.0.0/8", "192.0.2.0/24"]},
    {"rate_limit": None},
    {"rate_limit": 501},
    {"note": "free", "networks": None},
    {"scopes": ["read:tokens!user"], "rate_limit": None},
]
UNKNOWN: list[dict[str, Any]] = [
    {"enabled": True},
    {"disabled_at": None},
    {"frozen_at": None},
    {"revoked_at": None},
    {"user": "ada"},
    {"service": "ci"},
    {"purpose": "service"},
    {"created": "2000-01-01T00:00:00Z"},
    {"expires_at": None},
    {"client_id": "x"},
    {"digest": "x"},
    {"write_enabled": True},
]


@pytest.mark.parametrize("body", WIDER, ids=str)
def test_a_token_changes_no_limit_of_itself(
    body: Any, limited: tuple[APIToken, str], bearer: Any
) -> None:
    token, secret = limited
    before = row(token)

    reply = bearer(secret).patch(f"{API}/tokens/{token}", body, **JSON)

    assert reply.status_code == 403
    assert row(token) == before


@pytest.mark.parametrize("body", UNKNOWN, ids=str)
def test_columns_that_people_do_not_edit_are_no_fields(
    body: Any, limited: tuple[APIToken, str], bearer: Any
) -> None:
    token, secret = limited
    before = row(token)

    reply = bearer(secret).patch(f"{API}/tokens/{token}", body, **JSON)

    assert reply.status_code == 400
    assert row(token) == before


def test_a_token_neither_enables_nor_unfreezes_itself(
    limited: tuple[APIToken, str], bearer: Any
) -> None:
    token, secret = limited
    rows = APIToken.objects.filter(pk=token.pk)
    path = f"{API}/tokens/{token}"

    for act in ("enable", "unfreeze"):
        assert bearer(secret).post(f"{path}/{act}").status_code == 403
    disable_tokens(rows, by=BY)
    assert bearer(secret).post(f"{path}/enable").status_code == 403
    enable_tokens(rows, by=BY)
    freeze_tokens(rows, by=BY, reason="odd")
    assert bearer(secret).post(f"{path}/unfreeze").status_code == 403
    assert row(token)["frozen_at"] is not None


# Every address at which a token could be changed or used

CHANGES: list[tuple[str, str, Any]] = [
    ("patch", "tokens/{}", {"note": "mine"}),
    ("patch", "tokens/{}", {"scopes": ["inherit"]}),
    ("patch", "tokens/{}", {"networks": None}),
    ("delete", "tokens/{}", None),
    ("post", "tokens/{}/rotate", {}),
    ("post", "tokens/{}/disable", {}),
    ("post", "tokens/{}/enable", {}),
    ("post", "tokens/{}/freeze", {}),
    ("post", "tokens/{}/unfreeze", {}),
    ("delete", "users/alan/tokens/{}", None),
    ("post", "users/alan/tokens", {}),
]


def send(client: Any, change: tuple[str, str, Any], token: APIToken) -> Any:
    method, path, body = change
    more = {} if body is None else {"data": body, **JSON}
    return getattr(client, method)(f"{API}/{path.format(token)}", **more)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_who_only_reads_changes_nothing(change: Any, alan: User, bearer: Any) -> None:
    token, _ = make_token(alan)
    _, secret = make_token(alan, scopes=["read:tokens!user", "read:users!user"])
    before, number = row(token), APIToken.objects.count()

    reply = send(bearer(secret), change, token)

    assert reply.status_code in (403, 404)
    assert (row(token), APIToken.objects.count()) == (before, number)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_tokens_of_others_are_out_of_reach(
    change: Any, alan: User, mallory: User, bearer: Any
) -> None:
    token, _ = make_token(alan)
    _, secret = make_token(mallory)
    before, number = row(token), APIToken.objects.count()

    reply = send(bearer(secret), change, token)

    assert reply.status_code in (403, 404)
    assert (row(token), APIToken.objects.count()) == (before, number)


def deactivate(token: APIToken) -> None:
    User.objects.filter(api_tokens=token).update(is_active=False)


def disable(token: APIToken) -> None:
    disable_tokens(APIToken.objects.filter(pk=token.pk), by=BY)


def freeze(token: APIToken) -> None:
    freeze_tokens(APIToken.objects.filter(pk=token.pk), by=BY, reason="odd")


def expire(token: APIToken) -> None:
    past = timezone.now() - timedelta(seconds=1)
    APIToken.objects.filter(pk=token.pk).update(expires_at=past)


@pytest.mark.parametrize("end", [deactivate, disable, freeze, expire])
def test_a_token_that_does_not_work_changes_nothing(
    end: Callable[[APIToken], None], alan: User, bearer: Any
) -> None:
    token, secret = make_token(alan)
    other, _ = make_token(alan)
    assert bearer(secret).get(f"{API}/user").status_code == 200
    end(token)
    before, number = (row(token), row(other)), APIToken.objects.count()

    for target in (token, other):
        for change in CHANGES:
            assert send(bearer(secret), change, target).status_code == 403, change

    assert exchange(secret).status_code == 400
    assert ((row(token), row(other)), APIToken.objects.count()) == (before, number)


# JupyterHub's endpoint: a successor has the limits of the token that requested it


def test_a_successor_has_the_same_limits(
    limited: tuple[APIToken, str], bearer: Any
) -> None:
    _, secret = limited

    reply = bearer(secret).post(
        f"{API}/users/alan/tokens", {"networks": None, "rate_limit": None}
    )

    assert reply.status_code == 201
    successor = verify(reply.json()["token"])
    assert successor is not None
    assert (successor.networks, successor.rate_limit) == (["127.0.0.0/8"], 500)


def test_tokens_that_are_issued_for_others_have_no_limits_of_the_issuer(
    alan: User, bearer: Any
) -> None:
    launcher = make_service("launcher", scopes=["tokens"])
    _, secret = make_token(launcher, networks=["127.0.0.0/8"], rate_limit=500)

    reply = bearer(secret).post(f"{API}/users/alan/tokens", {})

    issued = verify(reply.json()["token"])
    assert issued is not None
    assert (issued.networks, issued.rate_limit) == (None, None)


@pytest.mark.parametrize("name", ["ada", "grace", "root"])
def test_no_superuser_gets_a_token_for_somebody_else(
    name: str, limited: tuple[APIToken, str], bearer: Any
) -> None:
    make_user(name, admin=True)

    for body in ({}, {"user": name}, {"scopes": ["inherit"]}):
        reply = bearer(limited[1]).post(f"{API}/users/{name}/tokens", body)
        assert reply.status_code == 403

    assert not APIToken.objects.filter(user__name=name).exists()


# The exchange


def test_an_exchanged_token_does_not_free_its_parent(alan: User, bearer: Any) -> None:
    token, secret = make_token(alan, scopes=["tokens!user"], expires_in=3600)
    narrower = exchange(secret).json()["access_token"]
    before = row(token)

    for body in ({"expires_in": None}, {"scopes": ["inherit"]}):
        reply = bearer(narrower).patch(f"{API}/tokens/{token}", body, **JSON)
        assert reply.status_code == 403

    assert row(token) == before


def test_a_token_and_those_exchanged_for_it_count_as_one(
    alan: User, bearer: Any
) -> None:
    token, secret = make_token(alan, scopes=["tokens!user"], expires_in=3600)
    tokens = [token]
    for _ in range(2):
        holder = verify(exchange(secret, expires_in="60").json()["access_token"])
        assert holder is not None
        tokens.append(APIToken.objects.get(pk=holder.token_id))
    stranger, _ = make_token(alan)

    for by in tokens:
        for target in tokens:
            actor = Actor("user", "alan", by.pk)
            rows = APIToken.objects.filter(pk=target.pk)
            with pytest.raises(Forbidden):
                enable_tokens(rows, by=actor)
            with pytest.raises(Forbidden):
                unfreeze_tokens(rows, by=actor)
            with pytest.raises(Forbidden):
                extend_token(target, None, by=actor)
            set_limits(target, networks=None, rate_limit=None, by=actor)
        assert extend_token(stranger, None, by=actor).expires_at is None


@pytest.mark.parametrize(
    "scope", ["inherit", "servers!user", "read:users", "admin:users", "tokens"]
)
def test_an_exchange_widens_nothing(scope: str, limited: tuple[APIToken, str]) -> None:
    number = APIToken.objects.count()

    assert exchange(limited[1], scope=scope).status_code == 400

    assert APIToken.objects.count() == number


# Pages are for people who have signed in

PAGES = ("note", "scopes", "expiry", "limits", "rotate", "enable", "unfreeze")


def test_a_token_opens_no_page(limited: tuple[APIToken, str], bearer: Any) -> None:
    token, secret = limited
    before, number = row(token), APIToken.objects.count()

    for path in ("/hub/token", "/hub/token/new", f"/hub/token/{token}"):
        reply = bearer(secret).get(path)
        assert reply.status_code in (302, 403), path
    for path in ("/hub/token/new", *(f"/hub/token/{token}/{name}" for name in PAGES)):
        reply = bearer(secret).post(path, {"networks": ""})
        assert reply.status_code in (302, 403, 404, 405), path

    assert (row(token), APIToken.objects.count()) == (before, number)
