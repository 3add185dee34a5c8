"""Ask for the approval of a token, decide about it, and collect the token."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import User
from audit.models import Actor, Event
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from tests.factories import BY, make_token, make_user
from tokens import approvals
from tokens.actions.changes import change_scopes
from tokens.actions.revocation import revoke_token
from tokens.models import APIToken, TokenPolicy, TokenRequest
from tokens.policy import AgainstPolicy
from tokens.verification import verify

pytestmark = pytest.mark.django_db

NEW = "/hub/token/new"
FORM = {
    "note": "for CI",
    "expires_in": "86400",
    "permissions": "chosen",
    "more_scopes": "tokens!user",
}
DAY = 86_400


@pytest.fixture(autouse=True)
def rule(db: None) -> TokenPolicy:
    return TokenPolicy.objects.create(
        approval_scopes=["tokens"], max_expires_in=30 * DAY
    )


@pytest.fixture
def asked(alan: User) -> TokenRequest:
    return approvals.ask(
        alan, by=BY, reason="CI", scopes=["tokens!user"], note="ci", expires_in=DAY
    )


def text(reply: Any) -> str:
    return unescape(reply.content.decode())


def page_of(request: TokenRequest) -> str:
    return f"/hub/admin/tokens/tokenrequest/{request.pk}/change/"


def test_a_token_is_asked_for_approved_and_collected_once(
    as_: Any, ada: User, alan: User, django_capture_on_commit_callbacks: Any
) -> None:
    User.objects.filter(pk=ada.pk).update(email="ada@example.org")
    User.objects.filter(pk=alan.pk).update(email="alan@example.org")
    client, admin = as_(alan), as_(ada)
    shown = client.post(NEW, FORM)
    assert shown.status_code == 400
    assert 'value="ask"' in text(shown)

    with django_capture_on_commit_callbacks(execute=True):
        reply = client.post(NEW, FORM | {"step": "ask", "reason": "CI tags releases"})

    assert reply["Location"] == "/hub/token"
    request = TokenRequest.objects.get()
    assert (request.state, request.scopes) == ("pending", ["tokens!user"])
    assert not APIToken.objects.exists()
    assert "waiting for a decision" in text(client.get("/hub/token"))
    assert mail.outbox[0].to == ["ada@example.org"]
    assert "CI tags releases" in mail.outbox[0].body

    queue = admin.get("/hub/admin/tokens/tokenrequest/?state=pending")
    assert "CI tags releases" in text(queue)
    assert "tokens!user" in text(admin.get(page_of(request)))
    with django_capture_on_commit_callbacks(execute=True):
        admin.post(page_of(request), {"decision": "approve", "decision_note": "Fine"})

    request.refresh_from_db()
    assert (request.state, request.decided_by) == ("approved", "ada")
    assert mail.outbox[1].to == ["alan@example.org"]
    assert "Fine" in mail.outbox[1].body
    assert "Collect the token" in text(client.get("/hub/token"))

    collected = client.post(f"/hub/token/requests/{request.pk}/collect")

    found = re.search(r'id="secret"[^>]* value="([^"]+)"', text(collected))
    assert found
    assert "no-store" in collected["Cache-Control"]
    bearer = verify(found[1])
    assert bearer is not None
    assert bearer.owner_name == "alan"
    assert APIToken.objects.get().scopes == ["tokens!user"]
    again = client.post(f"/hub/token/requests/{request.pk}/collect")
    assert again["Location"] == "/hub/token"
    assert APIToken.objects.count() == 1
    acts = Event.objects.order_by("id").values_list("action", flat=True)
    assert list(acts) == ["request.ask", "request.approve", "token.issue"]


def test_a_request_needs_a_reason(as_: Any, alan: User) -> None:
    reply = as_(alan).post(NEW, FORM | {"step": "ask", "reason": " "})

    assert "Write why you need the token" in text(reply)
    assert 'value="ask"' in text(reply)
    assert not TokenRequest.objects.exists()


def test_a_token_that_needs_no_approval_offers_none(as_: Any, alan: User) -> None:
    refused = as_(alan).post(NEW, FORM | {"expires_in": "31536000"})

    assert refused.status_code == 400
    assert 'value="ask"' not in text(refused)


def test_a_refusal_is_shown_with_its_note(
    as_: Any, ada: User, alan: User, asked: TokenRequest
) -> None:
    as_(ada).post(page_of(asked), {"decision": "refuse", "decision_note": "Too wide"})

    page = text(as_(alan).get("/hub/token"))
    assert "refused by" in page
    assert "Too wide" in page
    assert "Collect the token" not in page
    as_(alan).post(f"/hub/token/requests/{asked.pk}/collect")
    assert not APIToken.objects.exists()


def test_a_request_is_withdrawn_by_its_owner_only(
    as_: Any, alan: User, mallory: User, asked: TokenRequest
) -> None:
    where = f"/hub/token/requests/{asked.pk}/withdraw"

    assert as_(mallory).post(where).status_code == 404
    as_(alan).post(where)

    asked.refresh_from_db()
    assert asked.state == "gone"
    with pytest.raises(Conflict):
        approvals.decide(asked, is_approved=True, by=BY)


def test_nobody_decides_about_an_own_request(as_: Any, ada: User) -> None:
    request = approvals.ask(ada, by=BY, reason="x", scopes=["tokens"], expires_in=DAY)

    shown = as_(ada).post(page_of(request), {"decision": "approve"})

    assert "Another administrator has to decide" in text(shown)
    request.refresh_from_db()
    assert request.state == "pending"


def test_who_approves_holds_what_needs_the_approval(
    asked: TokenRequest, ada: User
) -> None:
    make_user("helper", roles=(), scopes=["admin:users", "admin-ui"])

    with pytest.raises(Forbidden, match="You do not hold"):
        approvals.decide(asked, is_approved=True, by=Actor("user", "helper"))
    asked.refresh_from_db()
    assert asked.state == "pending"
    approvals.decide(asked, is_approved=True, by=Actor("user", "ada"))
    assert asked.state == "approved"


def test_only_administrators_decide(
    as_: Any, alan: User, grace: User, asked: TokenRequest
) -> None:
    for user in (alan, grace):
        reply = as_(user).post(page_of(asked), {"decision": "approve"})
        assert reply.status_code in (302, 403)
    asked.refresh_from_db()
    assert asked.state == "pending"


def test_a_second_decision_is_refused(asked: TokenRequest) -> None:
    approvals.decide(asked, is_approved=False, by=BY)

    with pytest.raises(Conflict, match="meanwhile"):
        approvals.decide(asked, is_approved=True, by=BY)


def test_an_approval_lifts_no_other_rule(alan: User) -> None:
    with pytest.raises(AgainstPolicy, match="30 days at most"):
        approvals.ask(alan, by=BY, reason="x", expires_in=31 * DAY)
    with pytest.raises(Invalid, match="not held by User alan"):
        approvals.ask(alan, by=BY, reason="x", scopes=["admin:users"], expires_in=DAY)


def test_rights_are_compared_again_at_the_collection(
    alan: User, asked: TokenRequest
) -> None:
    approvals.decide(asked, is_approved=True, by=BY)
    alan.roles.clear()
    alan.groups.clear()
    asked = TokenRequest.objects.get()

    with pytest.raises(Invalid, match="not held"):
        approvals.collect(asked, by=BY)
    asked.refresh_from_db()
    assert asked.state == "approved"


@pytest.mark.parametrize("expires_in", [0, -1, 10**12, "1", True])
def test_a_life_that_no_token_may_have_is_refused_at_once(
    alan: User, expires_in: Any
) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=DAY)

    for about in ({"token": token}, {"scopes": ["read:users!user"]}):
        with pytest.raises(Invalid):
            approvals.ask(alan, by=BY, reason="x", expires_in=expires_in, **about)

    assert not TokenRequest.objects.exists()


def test_nothing_is_asked_for_a_token_that_has_ended(alan: User) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=DAY)
    revoke_token(token, by=BY)
    token.refresh_from_db()

    with pytest.raises(Conflict):
        approvals.ask(alan, by=BY, reason="x", expires_in=2 * DAY, token=token)

    assert not TokenRequest.objects.exists()


def test_an_approval_is_collected_within_a_month(asked: TokenRequest) -> None:
    now = timezone.now()
    approvals.decide(asked, is_approved=True, by=BY, now=now - timedelta(days=31))

    with pytest.raises(Conflict, match="ask again"):
        approvals.collect(asked, by=BY)


def test_the_number_of_waiting_requests_is_limited(alan: User) -> None:
    for _ in range(approvals.MOST_PENDING):
        approvals.ask(alan, by=BY, reason="x", expires_in=DAY)

    with pytest.raises(Conflict, match="withdraw one first"):
        approvals.ask(alan, by=BY, reason="x", expires_in=DAY)


def test_a_token_is_widened_by_the_approval(alan: User, mallory: User) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=DAY)
    request = approvals.ask(
        alan, by=BY, reason="x", token=token, scopes=["read:users!user", "tokens!user"]
    )

    approvals.decide(request, is_approved=True, by=BY)

    token.refresh_from_db()
    assert token.scopes == ["read:users!user", "tokens!user"]
    assert request.state == "done"
    with pytest.raises(NotFound):
        approvals.ask(mallory, by=BY, reason="x", token=token, expires_in=DAY)


def test_a_longer_life_is_asked_for_on_the_tokens_page(as_: Any, alan: User) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=DAY)
    where = f"/hub/token/a{token.pk}/expiry"
    client = as_(alan)
    refused = client.post(where, {"expires_in": "7776000"})
    assert 'value="ask"' in text(refused)

    client.post(where, {"expires_in": "7776000", "step": "ask", "reason": "a term"})
    request = TokenRequest.objects.get()
    assert (request.token, request.expires_in) == (token, 90 * DAY)
    now = timezone.now()
    approvals.decide(request, is_approved=True, by=BY, now=now)

    token.refresh_from_db()
    assert token.expires_at == now + timedelta(days=90)


def test_withdrawn_requests_of_a_day_count_because_each_sends_a_mail(
    alan: User,
) -> None:
    for _ in range(approvals.MOST_A_DAY):
        request = approvals.ask(alan, by=BY, reason="x", expires_in=DAY)
        approvals.withdraw(request, by=BY)

    with pytest.raises(Conflict, match="wait until tomorrow"):
        approvals.ask(alan, by=BY, reason="x", expires_in=DAY)


@pytest.mark.parametrize("scopes", [[], ["read:users:name!user"]])
def test_what_was_approved_is_what_is_issued(
    as_: Any, ada: User, alan: User, scopes: list[str]
) -> None:
    """No scopes are the fewest, and not all that the person has."""
    asked = approvals.ask(
        alan, by=Actor("user", "alan"), reason="CI", scopes=scopes, expires_in=DAY
    )
    shown = text(as_(ada).get(page_of(asked)))
    assert "not changed" not in shown
    assert (scopes[0] if scopes else "only identifies its owner") in shown
    approvals.decide(asked, is_approved=True, by=Actor("user", "ada"))

    token, _ = approvals.collect(asked, by=Actor("user", "alan"))

    assert token.scopes == scopes


def test_no_approval_is_asked_for_where_it_would_not_help(
    as_: Any, alan: User, rule: TokenPolicy
) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=DAY)
    TokenPolicy.objects.update(note_required=True)
    form = {"expires_in": str(7 * DAY)}

    reply = as_(alan).post(f"/hub/token/a{token.pk}/expiry", form)

    assert reply.status_code == 400
    assert "A note is required" in text(reply)
    assert 'value="ask"' not in text(reply)
    with pytest.raises(AgainstPolicy, match="A note is required"):
        approvals.ask(alan, by=BY, reason="CI", token=token, expires_in=60 * DAY)


@pytest.mark.parametrize("meanwhile", [["servers!user"], ["read:users!user"], []])
def test_an_approval_adds_what_was_asked_for_and_brings_nothing_back(
    alan: User, meanwhile: list[str]
) -> None:
    token, _ = make_token(
        alan, scopes=["servers!user", "read:users!user"], expires_in=DAY
    )
    request = approvals.ask(
        alan,
        by=BY,
        reason="A course",
        scopes=["servers!user", "read:users!user", "tokens!user"],
        token=token,
    )
    change_scopes(token, meanwhile, by=BY)

    approvals.decide(request, is_approved=True, by=BY)

    token.refresh_from_db()
    assert token.scopes == [*meanwhile, "tokens!user"]


def test_two_approvals_for_one_token_both_count(alan: User) -> None:
    token, _ = make_token(alan, scopes=["servers!user"], expires_in=DAY)
    one, two = (
        approvals.ask(
            alan,
            by=BY,
            reason="A course",
            scopes=["servers!user", scope],
            token=token,
        )
        for scope in ("tokens!user", "read:users!user")
    )

    for request in (one, two):
        approvals.decide(request, is_approved=True, by=BY)

    token.refresh_from_db()
    assert token.scopes == ["servers!user", "tokens!user", "read:users!user"]
