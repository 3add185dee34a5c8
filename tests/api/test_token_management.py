"""Tokens by their ids: what is shown, and the changes that tokens may not make."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from api import token_management, token_owners
from tests.factories import make_group, make_service, make_token, make_user
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

TOKENS = "/hub/api/tokens"


@pytest.fixture
def call(bearer: Any) -> Any:
    """Send a request as the holder of a secret, with a JSON body."""

    def send(secret: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        content = {"content_type": "application/json"}
        if body is not None:
            content["data"] = body
        return getattr(bearer(secret), method)(f"{TOKENS}{path}", **content, **more)

    return send


@pytest.fixture
def manager(alan: User) -> str:
    """The secret of a token with which alan manages the own tokens."""
    return make_token(alan, scopes=["tokens!user"], note="manager")[1]


# Seeing


def test_the_list_is_limited_filtered_and_paged(call: Any, alan: User) -> None:
    make_group("math", users=[alan])
    for number in range(3):
        make_token(alan, note=f"job {number}")
    make_token(make_user("mallory"), note="job of mallory")
    tutor = make_user("tutor", roles=(), scopes=["read:tokens!group=math"])
    _, secret = make_token(tutor)

    def notes(query: str) -> list[str]:
        return [token["note"] for token in call(secret, "get", query).json()]

    assert sorted(notes("")) == ["job 0", "job 1", "job 2"]
    assert notes("?q=job+1") == ["job 1"]
    assert notes("?user=mallory") == []
    assert notes("?sort=note&limit=2") == ["job 0", "job 1"]
    assert notes("?sort=note&limit=2&offset=2") == ["job 2"]
    assert notes("?state=disabled") == []
    for query in ("?state=odd", "?purpose=odd", "?sort=odd"):
        assert call(secret, "get", query).status_code == 400


def test_a_list_takes_few_queries(
    call: Any, alan: User, manager: str, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        make_token(alan)
    call(manager, "get", "")

    with django_assert_max_num_queries(8):
        assert len(call(manager, "get", "").json()) == 31


def test_one_token_is_shown_with_all_that_is_known(
    call: Any, alan: User, manager: str
) -> None:
    token, secret = make_token(alan, note="ci", scopes=["read:users!user"])

    shown = call(manager, "get", f"/{token}").json()

    assert shown["id"] == str(token)
    assert shown["user"] == "alan"
    assert shown["scopes"] == ["read:users!user"]
    assert shown["state"] == "active"
    assert secret.startswith(shown["begins_with"])
    assert "digest" not in shown
    assert "token" not in shown


@pytest.mark.parametrize("token_id", ["a999999", "12", "a", "a1x", "a" + "9" * 30])
def test_an_unknown_token_is_not_found(call: Any, manager: str, token_id: str) -> None:
    for method, path in (
        ("get", ""),
        ("patch", ""),
        ("delete", ""),
        ("post", "/rotate"),
    ):
        reply = call(manager, method, f"/{token_id}{path}", {"note": "x"})
        assert reply.status_code == 404, (method, path)


# Changing


def test_a_token_is_changed(call: Any, alan: User, manager: str) -> None:
    token, _ = make_token(alan, scopes=["read:users!user", "servers!user"])

    reply = call(
        manager,
        "patch",
        f"/{token}",
        {
            "note": "renamed",
            "scopes": ["read:users!user"],
            "expires_in": 3600,
            "networks": ["192.0.2.0/24"],
            "rate_limit": 60,
        },
    )

    assert reply.status_code == 200
    token.refresh_from_db()
    assert (token.note, token.scopes) == ("renamed", ["read:users!user"])
    assert token.expires_at is not None
    assert token.expires_at <= timezone.now() + timedelta(hours=1)
    assert (token.networks, token.rate_limit) == (["192.0.2.0/24"], 60)
    assert reply.json()["rate_limit"] == 60
    lifted = call(manager, "patch", f"/{token}", {"networks": None, "rate_limit": None})
    assert lifted.json()["networks"] is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        {"colour": "red"},
        {"note": 7},
        {"note": "kept?", "scopes": "read:users"},
        {"note": "kept?", "scopes": ["shutdown"]},
        {"note": "kept?", "expires_in": -1},
        {"note": "kept?", "expires_in": "soon"},
        {"note": "kept?", "networks": ["here"]},
        {"note": "kept?", "networks": "192.0.2.0/24"},
        {"note": "kept?", "rate_limit": 0},
    ],
)
def test_a_wrong_change_changes_nothing(
    call: Any, alan: User, manager: str, body: Any
) -> None:
    token, _ = make_token(alan, note="as it was")
    before = APIToken.objects.filter(pk=token.pk).values().get()

    reply = call(manager, "patch", f"/{token}", body)

    assert reply.status_code == 400, reply.content
    assert APIToken.objects.filter(pk=token.pk).values().get() == before


def test_states_and_revocation(call: Any, alan: User, manager: str) -> None:
    token, secret = make_token(alan)

    for action, state in (
        ("disable", "disabled"),
        ("enable", "active"),
        ("freeze", "frozen"),
        ("unfreeze", "active"),
    ):
        reply = call(manager, "post", f"/{token}/{action}", {"reason": "a test"})
        assert reply.json()["state"] == state
        assert (verify(secret) is not None) is (state == "active")
    assert call(manager, "post", f"/{token}/burn").status_code == 404
    assert call(manager, "delete", f"/{token}").status_code == 204
    assert verify(secret) is None
    assert call(manager, "get", f"/{token}").json()["state"] == "revoked"
    assert call(manager, "post", f"/{token}/enable").status_code == 404


def test_a_repeated_rotation_returns_the_same_secret(
    call: Any, alan: User, manager: str
) -> None:
    token, old = make_token(alan)
    key = {"HTTP_IDEMPOTENCY_KEY": "5f1c"}

    first = call(manager, "post", f"/{token}/rotate", {"overlap": 3600}, **key)
    again = call(manager, "post", f"/{token}/rotate", {"overlap": 3600}, **key)

    assert first.json()["token"] == again.json()["token"]
    assert first["Cache-Control"] == "no-store"
    assert first.json()["id"] == str(token)
    for secret in (old, first.json()["token"]):
        assert verify(secret) is not None


# What a token may not do by itself


def test_no_token_frees_itself(call: Any, alan: User) -> None:
    token, secret = make_token(
        alan, scopes=["tokens!user"], expires_in=3600, rate_limit=9
    )
    refused = (
        ("patch", "", {"scopes": ["tokens!user", "servers!user"]}),
        ("patch", "", {"expires_in": 7200}),
        ("patch", "", {"expires_in": None}),
        ("patch", "", {"rate_limit": None}),
        ("patch", "", {"rate_limit": 10}),
    )
    for method, path, body in refused:
        before = APIToken.objects.filter(pk=token.pk).values().get()
        reply = call(secret, method, f"/{token}{path}", body)
        assert reply.status_code == 403, body
        after = APIToken.objects.filter(pk=token.pk).values().get()
        assert after == {**before, "last_activity": after["last_activity"]}

    for body in ({"scopes": ["read:tokens!user", "tokens!user"]}, {"rate_limit": 8}):
        assert call(secret, "patch", f"/{token}", body).status_code == 200


def test_who_has_fewer_rights_than_the_owner_gains_none(call: Any) -> None:
    root = make_user("root", admin=True)
    make_group("all", users=[root])
    helper = make_user("helper", roles=(), scopes=["tokens!group=all"])
    _, secret = make_token(helper)
    token, _ = make_token(root, note="of root", scopes=["read:users", "shutdown"])
    gaining = (
        ("post", "/rotate", None),
        ("post", "/enable", None),
        ("post", "/unfreeze", None),
        ("patch", "", {"expires_in": 10}),
        ("patch", "", {"networks": None}),
    )

    for method, path, body in gaining:
        reply = call(secret, method, f"/{token}{path}", body)
        assert reply.status_code == 403, (method, path)
        assert "more rights than you" in reply.json()["message"]
    widened = call(secret, "patch", f"/{token}", {"scopes": ["read:users", "tokens"]})
    assert widened.status_code == 400
    narrowed = call(secret, "patch", f"/{token}", {"scopes": ["read:users"]})
    assert narrowed.status_code == 200
    assert call(secret, "post", f"/{token}/disable").status_code == 200
    assert call(secret, "delete", f"/{token}").status_code == 204


def test_tokens_of_services_are_for_those_who_reach_all(call: Any) -> None:
    token, _ = make_token(make_service("grader"))
    _, few = make_token(make_user("few", roles=(), scopes=["tokens!service=grader"]))
    _, all_of_them = make_token(make_user("root", admin=True))

    assert call(few, "get", f"/{token}").json()["service"] == "grader"
    assert call(few, "post", f"/{token}/rotate").status_code == 403
    assert call(all_of_them, "post", f"/{token}/rotate").status_code == 200


# Odd input, and changes at the same time


def test_a_reason_without_nul_characters(call: Any, alan: User, manager: str) -> None:
    token, _ = make_token(alan)

    for action in ("freeze", "disable", "enable", "unfreeze"):
        reply = call(manager, "post", f"/{token}/{action}", {"reason": "a\0b"})
        assert reply.status_code in (200, 400), action


@pytest.mark.parametrize(
    "body",
    [
        {"expires_in": 10**30},
        {"expires_in": -(10**18)},
        {"expires_in": 10**18},
        {"rate_limit": 10**30},
        {"rate_limit": True},
        {"networks": [None]},
        {"networks": ["10.0.0.0/8\0"]},
        {"networks": {"a": 1}},
        {"note": "a\0b"},
        {"scopes": ["a\0b"]},
        {"scopes": [["self"]]},
        {"scopes": ["read:users!user=a\0b"]},
    ],
)
def test_odd_changes_are_refused(
    call: Any, alan: User, manager: str, body: dict[str, Any]
) -> None:
    token, _ = make_token(alan)

    assert call(manager, "patch", f"/{token}", body).status_code == 400


@pytest.mark.parametrize("overlap", [10**30, -1, 10**18])
def test_odd_overlaps_are_refused(
    call: Any, alan: User, manager: str, overlap: int
) -> None:
    token, _ = make_token(alan)

    reply = call(manager, "post", f"/{token}/rotate", {"overlap": overlap})

    assert reply.status_code == 400


def test_another_limit_that_was_set_meanwhile_stays(
    call: Any, alan: User, manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = make_token(alan)
    may_issue = token_owners.may_issue

    def limit_meanwhile(*about: Any) -> bool:
        APIToken.objects.filter(pk=token.pk).update(networks=["192.0.2.0/24"])
        return may_issue(*about)

    monkeypatch.setattr(token_management, "may_issue", limit_meanwhile)

    assert call(manager, "patch", f"/{token}", {"rate_limit": 5}).status_code == 200
    token.refresh_from_db()
    assert (token.networks, token.rate_limit) == (["192.0.2.0/24"], 5)


# Limits of the caller


LIMITS: dict[str, Any] = {"networks": ["127.0.0.0/8"], "rate_limit": 100}


def test_a_limited_token_lifts_no_limits_by_its_successor(
    call: Any, bearer: Any, alan: User, manager: str
) -> None:
    APIToken.objects.filter(note="manager").update(**LIMITS)
    issued = bearer(manager).post(
        "/hub/api/users/alan/tokens", {}, content_type="application/json"
    )
    where = f"/{issued.json()['id']}"

    for lifted in ({"networks": None}, {"rate_limit": None}, {"rate_limit": 101}):
        assert call(manager, "patch", where, lifted).status_code == 403, lifted
    assert call(manager, "patch", where, {"rate_limit": 99}).status_code == 200
    token = APIToken.objects.get(pk=where[2:])
    assert (token.networks, token.rate_limit) == (LIMITS["networks"], 99)
    # Within the limits of the caller.
    assert call(manager, "patch", where, {"rate_limit": 100}).status_code == 200
    assert call(manager, "post", f"{where}/rotate").status_code == 200


def test_a_limited_token_gets_no_secret_without_its_limits(
    call: Any, alan: User, manager: str
) -> None:
    APIToken.objects.filter(note="manager").update(**LIMITS)
    other, secret = make_token(alan)

    assert call(manager, "post", f"/{other}/rotate").status_code == 403
    assert call(manager, "patch", f"/{other}", {"rate_limit": 500}).status_code == 200
    assert call(secret, "post", f"/{other}/rotate").status_code == 200
