"""Tokens in the admin: every action on them; a secret is shown only once."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import Event
from tests.admin.conftest import rows, text
from tests.factories import (
    make_group,
    make_role,
    make_service,
    make_token,
    make_user,
    make_users,
)
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db
LIST = "tokens_apitoken"


def choose(action, *tokens, every=False, confirmed=False):
    return {
        "action": action,
        "index": "0",
        "select_across": "1" if every else "0",
        "_selected_action": [token.pk for token in tokens],
        **({"confirmed": "yes"} if confirmed else {}),
    }


def test_lists_owners_notes_and_states(as_, ada, alan, pages):
    make_token(alan, note="laptop")
    make_token(make_service("ci"), note="nightly")

    page = text(as_(ada).get(pages.list(LIST)))

    for said in ("alan", "ci (service)", "laptop", "nightly", "active", "never"):
        assert said in page


def test_no_page_shows_a_secret_or_digest(as_, ada, alan, pages):
    token, secret = make_token(alan)
    client = as_(ada)

    for address in (pages.list(LIST), pages.of(token), pages.list("audit_event")):
        body = client.get(address).content.decode()
        assert secret not in body
        assert secret.split("_")[-1][:20] not in body
        assert "argon2" not in body


def test_narrower_scopes_see_just_their_rows(as_, grace, alan, mallory, pages):
    mine, _ = make_token(alan)
    other, _ = make_token(mallory)
    client = as_(grace)

    assert rows(client.get(pages.list(LIST))) == [str(mine)]
    assert client.get(pages.of(other)).status_code == 302


@pytest.mark.parametrize(
    "term",
    [
        *("alan", "Alan", "lapt", "APTOP", "top of", "{id}", "{public_id}"),
        *("{part}", "100%", "_x_"),
    ],
)
def test_finds_by_owner_note_and_id(as_, ada, alan, mallory, pages, term):
    token, _ = make_token(alan, note="laptop of 100%_x_")
    make_token(mallory, note="phone 1000 xxx")
    part = token.public_id[2:9]
    term = term.format(id=token, public_id=token.public_id, part=part)

    assert rows(as_(ada).get(pages.list(LIST), {"q": term})) == [str(token)]


def test_filters_by_state(as_, ada, alan, pages):
    now = timezone.now()
    tokens = {
        state: make_token(alan)[0]
        for state in ("active", "expired", "disabled", "revoked", "expiring")
    }
    for state, change in {
        "expired": {"expires_at": now - timedelta(days=1)},
        "expiring": {"expires_at": now + timedelta(days=1)},
        "disabled": {"disabled_at": now},
        "revoked": {"revoked_at": now},
    }.items():
        APIToken.objects.filter(pk=tokens[state].pk).update(**change)
    client = as_(ada)

    def listed(state):
        return set(rows(client.get(pages.list(LIST), {"state": state})))

    for state in ("expired", "expiring", "disabled", "revoked"):
        assert listed(state) == {str(tokens[state])}
    assert listed("active") == {str(tokens["active"]), str(tokens["expiring"])}


def test_filters_by_owner_use_and_origin(as_, ada, alan, pages):
    mine, _ = make_token(alan)
    service, _ = make_token(make_service("ci"))
    client = as_(ada)

    def listed(**query):
        return set(rows(client.get(pages.list(LIST), query)))

    assert listed(owner_kind="service") == {str(service)}
    assert listed(user="alan") == {str(mine)}
    assert listed(used="never") == {str(mine), str(service)}
    assert listed(used="month") == set()
    assert listed(origin__exact="brought") == set()


def test_issues_and_shows_the_secret_once(as_, ada, alan, pages):
    client = as_(ada)
    form = {
        "kind": "user",
        "owner": "alan",
        "note": "for the lab",
        "expires_in": "3600",
        "scopes": "read:users!user=alan\n",
    }

    reply = client.post(pages.add(LIST), form)

    secret = re.search(r'id="secret"[^>]*value="([^"]+)"', reply.content.decode())[1]
    token = APIToken.objects.get()
    assert verify(secret).owner_name == "alan"
    assert (token.note, token.scopes) == ("for the lab", ["read:users!user=alan"])
    assert token.expires_at
    assert "no-store" in reply["Cache-Control"]
    assert secret not in client.get(pages.of(token)).content.decode()
    assert secret not in str(dict(client.session))
    assert secret not in str(list(Event.objects.values()))
    assert Event.objects.get().actor_name == "ada"


def test_issues_for_a_name_however_it_is_typed(as_, ada, alan, pages):
    form = {"kind": "user", "owner": " Alan", "note": "x", "expires_in": "3600"}

    as_(ada).post(pages.add(LIST), form)

    assert APIToken.objects.get().user == alan


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"owner": "nobody"}, "No such user: nobody"),
        ({"owner": "mallory"}, "No such user: mallory"),
        ({"scopes": "admin:users"}, "admin:users"),
        ({"scopes": "no:such:scope"}, "no:such:scope"),
        ({"kind": "service", "owner": "ci"}, "No such service: ci"),
        ({"note": ""}, "required"),
    ],
)
def test_issues_nothing_beyond_reach(
    as_, grace, alan, mallory, ci, pages, change, says
):
    form = {"kind": "user", "owner": "alan", "note": "x", "expires_in": "3600"}

    reply = as_(grace).post(pages.add(LIST), {**form, **change})

    assert reply.status_code == 200
    assert says in text(reply)
    assert not APIToken.objects.exists()


def test_readers_can_not_issue_or_revoke(as_, alan, pages):
    token, secret = make_token(alan)
    reader = make_user("reader", scopes=["admin-ui", "read:tokens"], roles=[])
    client = as_(reader)

    assert client.get(pages.add(LIST)).status_code == 403
    client.post(pages.list(LIST), choose("revoke", token, confirmed=True))

    assert verify(secret)


def test_revokes_all_that_match_after_saying_how_many(as_, ada, alan, pages):
    for user in reversed(make_users(60)):
        token, secret = make_token(user, note=f"for {user.name}")
    _, kept_secret = make_token(alan)
    client = as_(ada)
    matching = pages.list(LIST, "?q=student")

    asked = client.post(matching, choose("revoke", token, every=True))
    assert "Revoke 60 tokens ?" in text(asked)
    assert f"{token} of {user.name}: for {user.name}" in text(asked)
    assert verify(secret)

    done = client.post(
        matching, choose("revoke", token, every=True, confirmed=True), follow=True
    )
    assert "Revoked 60 tokens." in text(done)
    assert verify(secret) is None
    assert verify(kept_secret)
    assert Event.objects.filter(action="token.revoke").count() == 1


def test_revokes_the_chosen_only(as_, ada, alan, pages):
    one, secret = make_token(alan)
    _, other = make_token(alan)

    as_(ada).post(pages.list(LIST), choose("revoke", one, confirmed=True))

    assert verify(secret) is None
    assert verify(other)


def test_revokes_only_within_reach(as_, alan, mallory, pages):
    mine, secret = make_token(alan)
    other, beyond = make_token(mallory)
    helper = make_user(
        "helper", scopes=["admin-ui", "read:tokens", "tokens!group=data301"], roles=[]
    )

    as_(helper).post(pages.list(LIST), choose("revoke", mine, other, confirmed=True))

    assert verify(secret) is None
    assert verify(beyond)


def test_disables_and_enables(as_, ada, alan, pages):
    token, secret = make_token(alan)
    client = as_(ada)

    client.post(pages.list(LIST), choose("disable", token, confirmed=True))
    assert verify(secret) is None

    client.post(pages.list(LIST), choose("enable", token, confirmed=True))
    assert verify(secret)
    actions = list(Event.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["token.issue", "token.disable", "token.enable"]


def test_tokens_are_neither_edited_nor_deleted(as_, ada, alan, pages):
    token, _ = make_token(alan)
    client = as_(ada)

    assert client.post(pages.of(token), {"note": "other"}).status_code == 403
    assert client.post(pages.of(token, "delete"), {"post": "yes"}).status_code == 403
    assert APIToken.objects.get().note == token.note


def test_the_loss_of_a_group_is_simulated(as_, ada, grace, alan, mallory, pages):
    lab = make_group("lab", users=[alan, grace])
    make_role("helpers", "read:users", groups=[lab])
    token, _ = make_token(alan)
    other, _ = make_token(mallory)
    path = f"/hub/admin/tokens/apitoken/{token.pk}/without/"
    client = as_(ada)
    assert path in client.get(pages.of(token)).content.decode()

    before = client.get(path).content.decode()
    without = client.post(path, {"without": "lab"}).content.decode()

    assert "PATCH /users/{name}</code>" not in before
    assert "GET /users/{name}</code>" in before and "GET /users/{name}" in without
    assert "for user alan" not in before.partition("GET /users/{name}<")[2][:200]
    assert "for user alan" in without and "could call without" in without
    assert set(lab.users.all()) == {alan, grace}
    assert client.post(path, {"without": "none\0"}).status_code == 200
    # Within the reach of the person who looks.
    elsewhere = f"/hub/admin/tokens/apitoken/{other.pk}/without/"
    assert as_(grace).get(elsewhere).status_code == 403
    assert as_(alan).get(path).status_code in (302, 403)
