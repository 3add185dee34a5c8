"""Requests for approval, notices and preferences, as programs use them."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.proof import PROVEN_AT
from audit.models import Actor
from tests.conftest import API, BearerClient
from tests.factories import make_role, make_service, make_token, make_user
from tokens.actions.pausing import freeze_tokens
from tokens.models import (
    APIToken,
    Leak,
    TokenNotice,
    TokenPolicy,
    TokenPreferences,
    TokenRequest,
)
from tokens.verification import verify

pytestmark = pytest.mark.django_db
DAY = 86_400
ASK = f"{API}/users/alan/token-requests"
REQUESTS = f"{API}/tokens/requests"
JSON = {"content_type": "application/json"}


@pytest.fixture(autouse=True)
def rule(db: None) -> TokenPolicy:
    return TokenPolicy.objects.create(approval_scopes=["tokens"])


@pytest.fixture
def program(alan: User) -> BearerClient:
    """A program of alan that manages tokens."""
    _, secret = make_token(alan, scopes=["tokens!user"], is_approved=True)
    return BearerClient(secret)


@pytest.fixture
def decider(ada: User) -> BearerClient:
    return BearerClient(make_token(ada, is_approved=True)[1])


def ask(program: BearerClient, **fields: Any) -> Any:
    return program.post(ASK, {"reason": "CI", "scopes": ["tokens!user"], **fields})


def test_a_token_is_asked_for_approved_and_collected(
    program: BearerClient, decider: BearerClient
) -> None:
    asked = ask(program, note="ci", expires_in=DAY)
    assert asked.status_code == 201
    shown = asked.json()
    where = f"{REQUESTS}/{shown['id']}"
    assert (shown["user"], shown["state"]) == ("alan", "pending")
    assert program.post(f"{where}/collect").status_code == 409

    approved = decider.post(f"{where}/approve", {"note": "fine"})
    assert approved.json()["state"] == "approved"
    assert approved.json()["decision_note"] == "fine"
    collected = program.post(f"{where}/collect")

    assert collected.status_code == 201
    assert collected["Cache-Control"] == "no-store"
    bearer = verify(collected.json()["token"])
    assert bearer and bearer.owner_name == "alan"
    token = APIToken.objects.get(pk=bearer.token_id)
    assert (token.note, token.scopes) == ("ci", ["tokens!user"])
    assert program.get(where).json()["state"] == "collected"
    assert program.post(f"{where}/collect").status_code == 409
    listed = decider.get(f"{REQUESTS}?state=collected&user=alan").json()
    assert [each["id"] for each in listed] == [shown["id"]]
    assert decider.get(f"{REQUESTS}?state=odd").status_code == 400


def test_a_token_is_widened_and_extended_by_requests(
    program: BearerClient, decider: BearerClient, alan: User
) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=DAY)
    TokenPolicy.objects.update(max_expires_in=2 * DAY)
    wider = ask(program, token=str(token)).json()
    longer = ask(program, token=str(token), scopes=None, expires_in=9 * DAY).json()
    assert wider["token"] == longer["token"] == str(token)

    for each in (wider, longer):
        reply = decider.post(f"{REQUESTS}/{each['id']}/approve")
        assert reply.json()["state"] == "collected", reply.content

    token.refresh_from_db()
    assert token.scopes == ["tokens!user"]
    assert token.expires_at


def test_what_can_not_be_asked(program: BearerClient, ada: User) -> None:
    others, _ = make_token(ada, is_approved=True)
    for fields, status in (
        ({"reason": ""}, 400),
        ({"scopes": ["admin:users"]}, 400),
        ({"scopes": [1]}, 400),
        ({"expires_in": "1"}, 400),
        ({"expires_in": 0}, 400),
        ({"token": str(others)}, 404),
        ({"token": "a987654321"}, 404),
        ({"token": 1}, 400),
        ({"odd": 1}, 400),
        ({"note": "x" * 1024}, 400),
    ):
        assert ask(program, **fields).status_code == status, fields
    for body in ({}, [], "x", {"scopes": ["tokens!user"]}):
        assert program.post(ASK, body).status_code == 400
    assert not TokenRequest.objects.exists()


def test_who_decides_holds_the_scopes_and_is_somebody_else(
    program: BearerClient, ada: User
) -> None:
    where = f"{REQUESTS}/{ask(program).json()['id']}"
    service = make_service("helper", scopes=["admin:users"])
    for owner, scopes in ((service, None), (ada, ["admin:users"])):
        caller = BearerClient(make_token(owner, scopes=scopes, is_approved=True)[1])
        reply = caller.post(f"{where}/approve")
        assert reply.status_code == 403
        assert "do not hold" in reply.json()["message"]
    assert caller.post(f"{where}/odd").status_code == 404
    make_role("admins", "admin:users", "tokens", users=[User.objects.get(name="alan")])
    _, own = make_token(User.objects.get(name="alan"), is_approved=True)
    assert BearerClient(own).post(f"{where}/approve").status_code == 403

    assert TokenRequest.objects.get().state == "pending"
    assert caller.post(f"{where}/refuse", {"note": "no"}).status_code == 200
    assert TokenRequest.objects.get().decision_note == "no"


def test_nobody_decides_about_what_they_asked_for_another_account(
    alan: User, decider: BearerClient
) -> None:
    # Otherwise administrators would need nobody for tokens of accounts they manage.
    where = f"{REQUESTS}/{ask(decider).json()['id']}"
    assert TokenRequest.objects.get().created_by == "ada"

    for decision in ("approve", "refuse"):
        reply = decider.post(f"{where}/{decision}")
        assert reply.status_code == 403
        assert "Another administrator" in reply.json()["message"]
    assert TokenRequest.objects.get().state == "pending"

    other = make_token(make_user("grace", admin=True), is_approved=True)[1]
    assert BearerClient(other).post(f"{where}/approve").status_code == 200


def test_requests_are_seen_and_withdrawn_within_the_scopes(
    program: BearerClient,
) -> None:
    where = f"{REQUESTS}/{ask(program).json()['id']}"
    mallory = make_user("mallory")
    other = BearerClient(
        make_token(mallory, scopes=["tokens!user"], is_approved=True)[1]
    )
    assert other.get(REQUESTS).json() == []
    for reply in (
        other.get(where),
        other.delete(where),
        other.post(f"{where}/collect"),
        other.get(f"{REQUESTS}/r987654321"),
    ):
        assert reply.status_code == 404
    assert TokenRequest.objects.get().state == "pending"

    assert program.delete(where).status_code == 204
    assert program.delete(where).status_code == 409
    assert TokenRequest.objects.get().state == "gone"


def test_a_limited_token_collects_none_without_its_limits(
    program: BearerClient, decider: BearerClient
) -> None:
    where = f"{REQUESTS}/{ask(program).json()['id']}"
    decider.post(f"{where}/approve")
    APIToken.objects.filter(user__name="alan").update(networks=["127.0.0.0/8"])

    reply = program.post(f"{where}/collect")

    assert reply.status_code == 403
    assert "wider limits" in reply.json()["message"]
    assert TokenRequest.objects.get().state == "approved"


# Sessions


def test_a_session_needs_the_recent_sign_in_that_the_pages_need(as_: Any) -> None:
    owner = make_user("prover", password="a long password")
    TokenPolicy.objects.all().delete()
    token, _ = make_token(owner, scopes=["read:users!user"])
    freeze_tokens(APIToken.objects.all(), by=Actor.system("alarm"), reason="leak")
    asked = TokenRequest.objects.create(
        user=owner, state="approved", decided_at=timezone.now()
    )
    browser = as_(owner)
    browser.get("/hub/token")
    headers = {"HTTP_X_XSRFTOKEN": browser.cookies["_xsrf"].value}
    calls = (
        ("post", f"tokens/{token}/rotate", {}),
        ("post", f"tokens/{token}/unfreeze", {}),
        ("patch", f"tokens/{token}", {"scopes": ["tokens!user"]}),
        ("post", f"tokens/requests/{asked}/collect", None),
    )

    def send(method: str, path: str, body: Any) -> Any:
        given = {} if body is None else {"data": body}
        return getattr(browser, method)(f"{API}/{path}", **given, **JSON, **headers)

    def prove(at: float) -> None:
        session = browser.session
        session[PROVEN_AT] = at
        session.save()

    prove(0)
    before = list(APIToken.objects.values())
    for method, path, body in calls:
        reply = send(method, path, body)
        assert reply.status_code == 403, path
        assert "/reauthenticate/" in reply.json()["message"], path
    assert list(APIToken.objects.values()) == before
    # What takes rights away needs no proof.
    assert send("patch", f"tokens/{token}", {"note": "x"}).status_code == 200

    prove(timezone.now().timestamp())
    for method, path, body in calls:
        assert send(method, path, body).status_code in (200, 201), path


# Notices and preferences


def test_notices_are_listed_until_they_were_seen(
    program: BearerClient, alan: User
) -> None:
    path = f"{API}/users/alan/token-notices"
    token, _ = make_token(alan, note="ci", scopes=["read:users!user"])
    TokenNotice.objects.all().delete()
    notice = TokenNotice.objects.create(
        token=token, kind=TokenNotice.Kind.NETWORK, detail={"network": "192.0.2.0/24"}
    )
    leak = Leak.objects.create(token=token, address="192.0.2.9")

    shown = program.get(path).json()["notices"]

    assert {each["id"] for each in shown} == {f"n{notice.pk}", f"l{leak.pk}"}
    by_kind = {each["kind"]: each for each in shown}
    assert by_kind["network"]["detail"] == {"network": "192.0.2.0/24"}
    assert by_kind["leaked"]["is_alarm"] and by_kind["leaked"]["note"] == "ci"
    for each in shown:
        assert program.delete(f"{path}/{each['id']}").status_code == 204
        assert program.delete(f"{path}/{each['id']}").status_code == 404
    assert program.get(path).json() == {"notices": []}
    for odd in ("x1", "n987654321", "l987654321", "n"):
        assert program.delete(f"{path}/{odd}").status_code == 404


def test_preferences_are_read_and_changed(program: BearerClient) -> None:
    path = f"{API}/users/alan/token-preferences"
    usual = program.get(path).json()
    assert usual["mail_created"] is True and usual["reminder_days"] == [7, 1]

    changed = program.patch(
        path, {"mail_created": False, "reminder_days": [1, 14, 14]}, **JSON
    )

    assert changed.json() == {**usual, "mail_created": False, "reminder_days": [14, 1]}
    assert program.get(path).json() == changed.json()
    for body in (
        {"mail_created": 1},
        {"reminder_days": [0]},
        {"reminder_days": [91]},
        {"reminder_days": [1, 2, 3, 4, 5, 6]},
        {"reminder_days": ["1"]},
        {"reminder_days": [True]},
        {"reminder_days": 7},
        {"odd": True},
    ):
        assert program.patch(path, body, **JSON).status_code == 400, body
    assert program.get(path).json() == changed.json()
    program.patch(path, {"reminder_days": None}, **JSON)
    assert TokenPreferences.objects.get().reminder_days is None


def test_preferences_of_others_with_more_rights_stay(ada: User) -> None:
    helper = make_user("helper", roles=(), scopes=["tokens!user=ada"])
    caller = BearerClient(make_token(helper, is_approved=True)[1])

    path = f"{API}/users/ada/token-preferences"
    reply = caller.patch(path, {"mail_created": False}, **JSON)

    assert reply.status_code == 403
    assert not TokenPreferences.objects.exists()
