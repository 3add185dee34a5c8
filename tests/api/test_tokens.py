"""/users/{name}/tokens and /users/{name}/tokens/{id}."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from services.models import Service
from tests.conftest import API
from tests.factories import (
    PASSWORD,
    make_client,
    make_group,
    make_server,
    make_share,
    make_token,
    make_user,
)
from tokens.models import APIToken

pytestmark = pytest.mark.django_db

Bearer = Callable[..., Any]


@pytest.fixture
def admin(ada: User, bearer: Bearer) -> Any:
    return bearer(make_token(ada)[1])


def ids(reply: Any) -> list[str]:
    return [token["id"] for token in reply.json()["api_tokens"]]


# Listing


def test_lists_tokens_in_order_of_use(admin: Any, alan: User) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = []
    for minutes, used in ((1, None), (2, 50), (3, None), (4, 10)):
        token, _ = make_token(alan)
        token.created = start + timedelta(minutes=minutes)
        token.last_activity = used and start + timedelta(minutes=used)
        token.save()
        rows.append(f"a{token.pk}")

    reply = admin.get(f"{API}/users/alan/tokens")

    assert reply.status_code == 200
    assert ids(reply) == [rows[0], rows[2], rows[3], rows[1]]


def test_lists_neither_expired_nor_revoked_tokens(admin: Any, alan: User) -> None:
    with time_machine.travel(timezone.now() - timedelta(hours=1), tick=False):
        make_token(alan, expires_in=60)
    revoked, _ = make_token(alan)
    APIToken.objects.filter(pk=revoked.pk).update(revoked_at=timezone.now())
    kept, _ = make_token(alan)

    assert ids(admin.get(f"{API}/users/alan/tokens")) == [f"a{kept.pk}"]


def test_a_token_on_the_wire(admin: Any, alan: User) -> None:
    token, _ = make_token(
        alan, note="für später", scopes=["read:users:name!user"], expires_in=3600
    )

    listed = admin.get(f"{API}/users/alan/tokens").json()["api_tokens"]
    shown = admin.get(f"{API}/users/alan/tokens/a{token.pk}").json()

    assert listed == [shown]
    assert shown == {
        "user": "alan",
        "id": f"a{token.pk}",
        "kind": "api_token",
        "roles": [],
        "scopes": ["read:users:groups!user=alan", "read:users:name!user=alan"],
        "created": token.created.isoformat().replace("+00:00", "Z"),
        "last_activity": None,
        "expires_at": token.expires_at.isoformat().replace("+00:00", "Z"),
        "note": "für später",
        "session_id": None,
        "oauth_client": "JupyterHub",
    }


def test_names_the_service_that_obtained_a_token(admin: Any, alan: User) -> None:
    make_client("ci", description="JupyterHub service ci")
    make_token(alan, client_id="service-ci")

    listed = admin.get(f"{API}/users/alan/tokens").json()["api_tokens"]

    assert listed[0]["oauth_client"] == "JupyterHub service ci"


def test_shows_what_a_token_may_do_now(admin: Any, ada: User) -> None:
    boss = make_user("boss", admin=True)
    make_token(boss, scopes=["list:users"])
    boss.roles.clear()

    listed = admin.get(f"{API}/users/boss/tokens").json()["api_tokens"]

    assert listed[0]["scopes"] == []


def test_own_use_shows_at_once(alan: User, bearer: Bearer) -> None:
    token, secret = make_token(alan)

    reply = bearer(secret).get(f"{API}/users/alan/tokens/a{token.pk}")

    assert reply.json()["last_activity"] is not None


def test_unknown_users_have_no_tokens(admin: Any) -> None:
    reply = admin.get(f"{API}/users/nobody/tokens")

    assert reply.status_code == 404
    assert reply.json() == {"status": 404, "message": "No such user: nobody"}


@pytest.mark.parametrize("number", [2, 20])
def test_listing_costs_the_same_however_many(
    admin: Any, alan: User, number: int, django_assert_num_queries: Any
) -> None:
    for _ in range(number):
        make_token(alan)
    admin.get(f"{API}/users/alan/tokens")  # writes down that the token was used

    with django_assert_num_queries(3):  # the bearer, the owner, the tokens
        assert len(ids(admin.get(f"{API}/users/alan/tokens"))) == number


# Issuing


def test_issues_a_token_that_works(admin: Any, alan: User, bearer: Bearer) -> None:
    reply = admin.post(f"{API}/users/alan/tokens")

    body = reply.json()
    assert reply.status_code == 201
    assert body["note"] == "Requested via api by user ada"
    assert body["expires_at"] is None
    assert "read:users!user=alan" in body["scopes"]
    assert bearer(body["token"]).get(f"{API}/user").json()["name"] == "alan"


def test_the_note_names_the_requester(
    alan: User, ci: Service, bearer: Bearer, admin: Any
) -> None:
    ci.roles.create(name="issuer", scopes=["tokens"])
    mine = bearer(make_token(alan)[1])
    service = bearer(make_token(ci)[1])
    path = f"{API}/users/alan/tokens"

    assert mine.post(path, {"note": None}).json()["note"] == "Requested via api"
    assert (
        service.post(path, {"note": ""}).json()["note"]
        == "Requested via api by service ci"
    )
    assert admin.post(path, {"note": "für später"}).json()["note"] == "für später"


def test_an_issued_secret_is_in_no_other_answer(admin: Any, alan: User) -> None:
    secret = admin.post(f"{API}/users/alan/tokens").json()["token"]

    assert secret not in admin.get(f"{API}/users/alan/tokens").content.decode()
    assert secret not in str(list(Event.objects.values()))


def test_roles_stand_for_their_scopes(admin: Any, alan: User) -> None:
    path = f"{API}/users/alan/tokens"

    of_user = admin.post(path, {"roles": ["user"]})
    of_token = admin.post(path, {"roles": ["token"]})

    assert of_user.json()["scopes"] == of_token.json()["scopes"]
    assert [token.scopes for token in alan.api_tokens.order_by("pk")] == [
        ["self"],
        ["inherit"],
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([3], "Body must be a JSON object"),
        ({"roles": ["user"], "scopes": ["self"]}, "Can only assign one of"),
        ({"roles": ["no-such-role"]}, "No such role: no-such-role"),
        ({"roles": "user"}, "token roles must be a list of strings"),
        ({"roles": ["admin"]}, "Not assigning requested scopes"),
        ({"scopes": ["no:such"]}, "Scope 'no:such' for token does not exist"),
        ({"scopes": ["all"]}, "is now called 'inherit'"),
        ({"scopes": "self"}, "token scopes must be a list"),
        ({"scopes": [1]}, "token scopes must be a list"),
        ({"scopes": ["admin:users"]}, "not held by User alan"),
        ({"scopes": ["inherit", "shutdown"]}, "not held by User alan"),
        ({"expires_in": 0}, "expires_in must be a positive integer or null, not 0"),
        ({"expires_in": -5}, "positive integer"),
        ({"expires_in": "60"}, "must be null or integer"),
        ({"expires_in": 1.5}, "must be null or integer"),
        ({"expires_in": True}, "must be null or integer"),
        ({"note": ["x"]}, "token note must be a string"),
        ({"note": "x" * 1024}, "must not exceed"),
    ],
)
def test_refuses_what_makes_no_sense(
    admin: Any, alan: User, body: Any, message: str
) -> None:
    reply = admin.post(f"{API}/users/alan/tokens", body)

    assert reply.status_code == 400
    assert message in reply.json()["message"]
    assert not alan.api_tokens.exists()


def test_a_policy_limits_lifetimes(admin: Any, alan: User, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, token_expires_in_max_seconds=7200)
    path = f"{API}/users/alan/tokens"

    assert admin.post(path).json()["expires_at"] is not None
    assert admin.post(path, {"expires_in": 7200}).status_code == 201
    reply = admin.post(path, {"expires_in": 7201})
    assert reply.status_code == 400
    assert reply.json()["message"] == "token expires_in: 7201 must not exceed 7200"


@pytest.mark.parametrize("name", ["grace", "nobody"])
def test_missing_and_out_of_reach_look_alike(
    alan: User, grace: User, bearer: Bearer, name: str
) -> None:
    reply = bearer(make_token(alan)[1]).post(f"{API}/users/{name}/tokens")

    assert reply.status_code == 403
    assert reply.json()["message"] == (
        f"User {name} not found or no permissions to generate tokens"
    )
    assert not grace.api_tokens.exists()


def test_a_group_filter_reaches_members_only(
    grace: User, alan: User, mallory: User, bearer: Bearer
) -> None:
    client = bearer(make_token(grace)[1])

    assert client.post(f"{API}/users/alan/tokens").status_code == 201
    assert client.post(f"{API}/users/mallory/tokens").status_code == 403


def test_issuing_takes_one_look_and_one_row(
    admin: Any, alan: User, django_assert_max_num_queries: Any
) -> None:
    admin.post(f"{API}/users/alan/tokens")

    # The bearer, the owner with all its rights, the token, the record, the notice for
    # the owner, and a transaction around the last three.
    with django_assert_max_num_queries(7):
        admin.post(f"{API}/users/alan/tokens")


# By name and password


@pytest.fixture
def with_password(db: None) -> User:
    return make_user("hopper", password=PASSWORD)


def credentials(password: str = PASSWORD, name: str = "hopper") -> dict[str, Any]:
    return {"auth": {"username": name, "password": password}}


def test_a_list_shows_the_reach_of_each_token(mallory: User, admin: Any) -> None:
    lab = make_server(make_user("owner"), "lab")
    make_share(lab, group=make_group("guests", users=[mallory]))
    for client_id in ("", "service-ci"):
        make_token(mallory, client_id=client_id)

    listed = admin.get(f"{API}/users/mallory/tokens").json()["api_tokens"]

    shared = "access:servers!server=owner/lab"
    assert [shared in token["scopes"] for token in listed] == [False, True]


def test_a_password_is_worth_a_token(with_password: User, bearer: Bearer) -> None:
    reply = bearer(None).post(f"{API}/users/hopper/tokens", credentials())

    assert reply.status_code == 201
    assert reply.json()["note"] == "Requested via api"
    event = Event.objects.get(action="token.issue")
    assert event.actor_name == "hopper"


def test_a_password_is_not_worth_a_role(with_password: User, bearer: Bearer) -> None:
    with_password.roles.clear()

    reply = bearer(None).post(f"{API}/users/hopper/tokens", credentials())

    assert reply.status_code == 403
    assert not with_password.roles.exists()


def test_asking_for_a_token_makes_no_account(
    bearer: Bearer, settings: Any, db: None
) -> None:
    hub = replace(settings.HUB, authenticator_class="dummy", allow_all=True)
    settings.HUB = hub

    reply = bearer(None).post(
        f"{API}/users/newton/tokens", credentials("any", "newton")
    )

    assert reply.status_code == 403
    assert not User.objects.filter(name="newton").exists()


@pytest.mark.parametrize(
    ("note", "kept"),
    [(5, "5"), (1.5, "1.5"), (True, "1"), (0, None), (False, None), ("", None)],
)
def test_a_number_is_a_note(
    admin: Any, alan: User, note: Any, kept: str | None
) -> None:
    reply = admin.post(f"{API}/users/alan/tokens", {"note": note})

    assert reply.json()["note"] == (kept or "Requested via api by user ada")


@pytest.mark.parametrize("body", [[], {}, None])
def test_what_is_empty_asks_for_what_is_usual(
    admin: Any, alan: User, body: Any
) -> None:
    reply = admin.post(f"{API}/users/alan/tokens", body)

    assert (reply.status_code, reply.json()["expires_at"]) == (201, None)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"auth": None},
        {"auth": "hopper"},
        {"auth": {"username": "hopper"}},
        {"auth": {"username": "hopper", "password": 3}},
        credentials("wrong"),
        credentials(name="nobody"),
    ],
)
def test_anything_else_is_not(with_password: User, bearer: Bearer, body: Any) -> None:
    reply = bearer(None).post(f"{API}/users/hopper/tokens", body)

    assert reply.status_code == 403
    assert not APIToken.objects.exists()


def test_a_password_reaches_as_far_as_its_owner(
    with_password: User, alan: User, bearer: Bearer
) -> None:
    reply = bearer(None).post(f"{API}/users/alan/tokens", credentials())

    assert reply.status_code == 403
    assert not alan.api_tokens.exists()


def test_a_second_factor_cannot_be_left_out(
    with_password: User, bearer: Bearer
) -> None:
    Authenticator.objects.create(
        user=with_password, type=Authenticator.Type.TOTP, data={}
    )

    reply = bearer(None).post(f"{API}/users/hopper/tokens", credentials())

    assert reply.status_code == 403
    assert "second factor" in reply.json()["message"]
    assert not APIToken.objects.exists()


def test_guessing_passwords_ends_soon(with_password: User, bearer: Bearer) -> None:
    for _ in range(12):
        bearer(None).post(f"{API}/users/hopper/tokens", credentials("wrong"))

    reply = bearer(None).post(f"{API}/users/hopper/tokens", credentials())

    assert reply.status_code == 403
    assert "Too many failed attempts" in reply.json()["message"]
    assert not APIToken.objects.exists()


def test_a_refused_token_with_a_password_is_a_password(
    with_password: User, bearer: Bearer
) -> None:
    reply = bearer("no-such-token").post(f"{API}/users/hopper/tokens", credentials())

    assert reply.status_code == 201


# Revoking


def test_revokes_at_once(admin: Any, alan: User, bearer: Bearer) -> None:
    token, secret = make_token(alan)
    path = f"{API}/users/alan/tokens/a{token.pk}"
    client = bearer(secret)
    assert client.get(f"{API}/user").status_code == 200

    reply = admin.delete(path)

    assert reply.status_code == 204
    assert reply.content == b""
    assert "Content-Type" not in reply.headers
    assert client.get(f"{API}/user").status_code == 403
    assert admin.delete(path).status_code == 404
    assert Event.objects.filter(action="token.revoke").count() == 1


@pytest.mark.parametrize(
    "token_id",
    ["a", "x1", "a-1", "a999999", "1", "a1.0", "a٣", f"a{2**64}", "a" + "9" * 400],
)
def test_malformed_ids_are_not_found(admin: Any, alan: User, token_id: str) -> None:
    for method in (admin.get, admin.delete):
        reply = method(f"{API}/users/alan/tokens/{token_id}")
        assert reply.status_code == 404
        assert reply.json()["message"] == (f"No such token {token_id} for user alan")


def test_tokens_are_found_below_their_owner_only(
    admin: Any, alan: User, grace: User
) -> None:
    token, _ = make_token(grace)

    assert admin.get(f"{API}/users/alan/tokens/a{token.pk}").status_code == 404
    assert admin.delete(f"{API}/users/alan/tokens/a{token.pk}").status_code == 404
    assert grace.api_tokens.get().revoked_at is None


def test_expired_tokens_are_not_found(admin: Any, alan: User) -> None:
    with time_machine.travel(timezone.now() - timedelta(hours=1), tick=False):
        token, _ = make_token(alan, expires_in=60)

    assert admin.get(f"{API}/users/alan/tokens/a{token.pk}").status_code == 404


def test_a_client_loses_all_its_tokens_together(admin: Any, alan: User) -> None:
    first, _ = make_token(alan, client_id="service-portal")
    make_token(alan, client_id="service-portal")
    kept, _ = make_token(alan)

    assert admin.delete(f"{API}/users/alan/tokens/a{first.pk}").status_code == 204

    assert ids(admin.get(f"{API}/users/alan/tokens")) == [f"a{kept.pk}"]


def test_revoking_stays_cheap(
    admin: Any, alan: User, django_assert_max_num_queries: Any
) -> None:
    token, _ = make_token(alan)
    admin.get(f"{API}/user")

    # The bearer, the token, its end, the record, and a transaction around both.
    with django_assert_max_num_queries(6):
        admin.delete(f"{API}/users/alan/tokens/a{token.pk}")


# By session


def test_a_session_needs_proof_of_origin(alan: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alan, "accounts.backends.HubBackend")

    reply = client.post(f"{API}/users/alan/tokens", {}, content_type="application/json")

    assert reply.status_code == 403
    assert "_xsrf" in reply.json()["message"]
    assert not alan.api_tokens.exists()


def test_a_session_issues_tokens(alan: User, as_: Any) -> None:
    reply = as_(alan).post(
        f"{API}/users/alan/tokens", {"note": "x"}, content_type="application/json"
    )

    assert reply.status_code == 201
    assert reply.json()["user"] == "alan"
