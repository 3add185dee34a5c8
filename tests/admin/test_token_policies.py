"""Policies for tokens in the admin: the dry run, and the existing tokens."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.models import Actor, Event
from tests.admin.conftest import text
from tests.factories import make_group, make_role, make_service, make_token
from tokens import approvals
from tokens.actions.pausing import disable_tokens
from tokens.models import APIToken, Purpose, TokenPolicy
from tokens.policy import policy_for, violations
from tokens.policy_actions import apply_policies
from tokens.policy_conditions import violating

pytestmark = pytest.mark.django_db

DAY = 86_400


def hidden(reply: Any) -> dict[str, str]:
    """Return the hidden fields of the page that asks for a confirmation."""
    found = re.findall(
        r'<input type="hidden" name="(\w+)" value="([^"]*)">', reply.content.decode()
    )
    return {name: unescape(value) for name, value in found}


def apply_all(now: Any = None) -> int:
    number = 0
    for _ in range(20):
        changed = apply_policies(now or timezone.now())
        if not changed:
            return number
        number += changed
    raise AssertionError("The policies are applied without end.")


def test_a_dry_run_comes_before_the_save(as_, ada, alan, mallory, pages):
    make_token(alan)
    make_token(alan, expires_in=DAY)
    make_token(mallory)
    make_token(mallory, purpose=Purpose.SERVER)
    client = as_(ada)
    form = {"max_expires_in": "30", "note_required": "on"}

    shown = client.post(pages.add("tokens_tokenpolicy"), form)

    assert not TokenPolicy.objects.exists()
    assert "applies to 3 tokens" in text(shown)
    assert "3 tokens of 2 owners violate it now" in text(shown)
    assert "2 live longer than allowed" in text(shown)
    assert "3 have no note" in text(shown)
    assert "Owners: alan, mallory." in text(shown)

    reply = client.post(pages.add("tokens_tokenpolicy"), hidden(shown))

    assert reply.status_code == 302
    policy = TokenPolicy.objects.get()
    assert (policy.max_expires_in, policy.note_required) == (30 * DAY, True)
    assert policy.changed_by == "ada"
    event = Event.objects.get(action="policy.define")
    assert event.target_name == "everybody"
    assert event.detail["after"] == {"max_expires_in": 30 * DAY, "note_required": True}


def test_a_confirmation_of_other_values_is_none(as_, ada, pages):
    client = as_(ada)
    where = pages.add("tokens_tokenpolicy")
    shown = client.post(where, {"max_expires_in": "30"})

    for changed in ({"max_expires_in": "1"}, {"confirmed": "yes"}):
        reply = client.post(where, hidden(shown) | changed)
        assert "Nothing is saved yet" in text(reply)

    assert not TokenPolicy.objects.exists()


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"role_name": "nobody"}, "No such role: nobody"),
        ({"group_name": "nobody"}, "No such group: nobody"),
        ({"scope_ceiling": "read:everything"}, "read:everything"),
        ({"networks": "192.0.2.1/24"}, "write 192.0.2.0/24"),
        ({"max_expires_in": "1", "default_expires_in": "2"}, "longer than the longest"),
        ({"max_unused_days": "0"}, "At least one day"),
        ({"max_expires_in": "x"}, "Enter a number"),
    ],
)
def test_values_that_no_policy_can_have_are_refused(as_, ada, pages, form, says):
    reply = as_(ada).post(pages.add("tokens_tokenpolicy"), form)

    assert says in text(reply)
    assert not TokenPolicy.objects.exists()


def test_there_is_one_policy_for_each_subject(as_, ada, pages):
    TokenPolicy.objects.create()

    reply = as_(ada).post(pages.add("tokens_tokenpolicy"), {"max_expires_in": "1"})

    assert "a policy for everybody already" in text(reply)


def test_only_administrators_of_users_see_and_change_policies(as_, alan, grace, pages):
    policy = TokenPolicy.objects.create(max_tokens=1)

    for user in (alan, grace):
        client = as_(user)
        assert client.get(pages.of(policy)).status_code in (302, 403)
        assert client.post(pages.of(policy), {}).status_code in (302, 403)
        assert client.post(pages.add("tokens_tokenpolicy"), {}).status_code == 403

    assert TokenPolicy.objects.get().max_tokens == 1


def test_a_policy_is_changed_and_deleted(as_, ada, pages):
    policy = TokenPolicy.objects.create(group=make_group("math"), max_expires_in=61)
    client = as_(ada)
    assert 'value="0.00071"' in client.get(pages.of(policy)).content.decode()

    shown = client.post(pages.of(policy), {"max_tokens": "3"})
    client.post(pages.of(policy), hidden(shown))
    policy.refresh_from_db()
    assert (policy.max_tokens, policy.max_expires_in) == (3, None)

    client.post(pages.of(policy, "delete"), {"post": "yes"})
    assert not TokenPolicy.objects.exists()
    assert [event.sentence for event in Event.objects.order_by("id")] == [
        "ada defined the token policy group math",
        "ada deleted the token policy group math",
    ]


def shown_by(reply: Any) -> dict[str, str]:
    """Return the hidden fields with the values that a form shows."""
    inputs = re.findall(r"<input[^>]*name=\"initial-[^>]*>", reply.content.decode())
    return {
        re.findall(r'name="([^"]*)"', each)[0]: unescape(
            "".join(re.findall(r'value="([^"]*)"', each))
        )
        for each in inputs
    }


def test_a_policy_keeps_what_was_changed_elsewhere(as_, ada, pages):
    policy = TokenPolicy.objects.create(
        group=make_group("math"), max_expires_in=DAY, scope_ceiling=["self"]
    )
    client, address = as_(ada), pages.of(policy)
    opened = shown_by(client.get(address))
    TokenPolicy.objects.update(networks=["192.0.2.0/24"], note_required=True)
    form = opened | {
        name.removeprefix("initial-"): value
        for name, value in opened.items()
        if value != "False"
    }

    shown = client.post(address, form | {"max_tokens": "3"})
    given = {
        name: unescape(value)
        for name, value in re.findall(
            r'<input type="hidden" name="([\w-]+)" value="([^"]*)">',
            shown.content.decode(),
        )
    }
    client.post(address, given)

    policy.refresh_from_db()
    assert (policy.max_tokens, policy.max_expires_in) == (3, DAY)
    assert (policy.networks, policy.note_required) == (["192.0.2.0/24"], True)
    assert policy.scope_ceiling == ["self"]


def test_a_rule_that_was_changed_twice_is_shown_with_both_values(as_, ada, pages):
    policy = TokenPolicy.objects.create(group=make_group("math"), max_tokens=5)
    client, address = as_(ada), pages.of(policy)
    opened = shown_by(client.get(address))
    TokenPolicy.objects.update(max_tokens=7)

    refused = client.post(address, opened | {"max_tokens": "9"})

    assert "was changed meanwhile: it was “5”" in text(refused)
    assert "is “7” now" in text(refused)
    assert shown_by(refused)["initial-max_tokens"] == "7"
    policy.refresh_from_db()
    assert policy.max_tokens == 7


def test_a_dry_run_counts_those_of_a_role_and_of_a_group(as_, ada, alan, pages):
    group = make_group("math", users=[alan])
    make_role("staff", groups=[group], services=[make_service("grader")])
    make_token(alan, note="a")
    make_token(make_service("other"))
    for name, value in (("group_name", "math"), ("role_name", "staff")):
        shown = as_(ada).post(
            pages.add("tokens_tokenpolicy"), {name: value, "max_expires_in": "1"}
        )
        assert "1 token of 1 owner violates it now" in text(shown)


def test_a_dry_run_costs_the_same_for_many_tokens(as_, ada, alan, pages):
    client = as_(ada)
    form = {
        "max_expires_in": "1",
        "scope_ceiling": "read:users",
        "networks": "10.0.0.0/8",
        "max_unused_days": "9",
        "max_tokens": "3",
    }
    costs = []
    for more in (1, 12):
        for _ in range(more):
            make_token(alan, scopes=["read:users!user"])
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.post(pages.add("tokens_tokenpolicy"), form)
        costs.append(len(queries))

    assert costs[0] == costs[1]


# Existing tokens, once their date has come


def test_existing_tokens_wait_for_the_announced_date(alan: User) -> None:
    now = timezone.now()
    token, _ = make_token(alan)
    TokenPolicy.objects.create(max_expires_in=DAY, effective_from=now + timedelta(1))

    assert apply_all(now) == 0
    assert apply_all(now + timedelta(hours=23)) == 0
    apply_all(now + timedelta(days=1))

    token.refresh_from_db()
    assert token.expires_at == token.created + timedelta(seconds=DAY)


def test_caps_apply_to_existing_tokens(alan: User) -> None:
    now = timezone.now()
    long, _ = make_token(alan, note="x", expires_in=9 * DAY)
    short, _ = make_token(
        alan, expires_in=60, scopes=["read:users!user"], networks=["10.1.0.0/16"]
    )
    wide, _ = make_token(alan, scopes=["read:users!user", "tokens!user"])
    elsewhere, _ = make_token(alan, networks=["192.0.2.0/24"])
    of_server, _ = make_token(alan, purpose=Purpose.SERVER)
    TokenPolicy.objects.create(
        max_expires_in=DAY,
        scope_ceiling=["read:users"],
        networks=["10.0.0.0/8"],
        effective_from=now,
    )

    apply_all(now)

    for token in (long, short, wide, elsewhere, of_server):
        token.refresh_from_db()
    assert long.expires_at == long.created + timedelta(seconds=DAY)
    assert long.scopes == ["read:users"]
    assert long.networks == ["10.0.0.0/8"]
    assert short.networks == ["10.1.0.0/16"]
    assert wide.scopes == ["read:users!user"]
    assert elsewhere.disabled_by == "the policy for everybody"
    assert of_server.expires_at is None
    assert of_server.networks is None
    acts = set(Event.objects.filter(actor_name="policy").values_list("action"))
    assert acts == {
        ("token.shorten",),
        ("token.narrow",),
        ("token.limit",),
        ("token.disable",),
    }


def test_unused_tokens_end_in_batches(alan: User, mallory: User) -> None:
    long_ago = timezone.now() - timedelta(days=40)
    math = make_group("math", users=[alan])
    unused = [make_token(alan, now=long_ago)[0] for _ in range(3)]
    used, _ = make_token(alan, now=long_ago)
    APIToken.objects.filter(pk=used.pk).update(last_activity=timezone.now())
    make_token(mallory, now=long_ago)
    TokenPolicy.objects.create(
        group=math, max_unused_days=30, effective_from=timezone.now()
    )

    assert [apply_policies(timezone.now(), most=2) for _ in range(3)] == [2, 1, 0]

    ended = APIToken.objects.filter(revoked_at__isnull=False)
    assert {token.pk for token in ended} == {token.pk for token in unused}
    assert {token.revoked_by for token in ended} == {"the policy for group math"}
    assert Event.objects.filter(action="token.revoke").count() == 2


def test_new_tokens_end_unused_without_a_date(alan: User) -> None:
    old, _ = make_token(alan, now=timezone.now() - timedelta(days=2))
    TokenPolicy.objects.create(max_unused_days=30)
    new, _ = make_token(alan)

    apply_all(timezone.now() + timedelta(days=31))

    old.refresh_from_db()
    new.refresh_from_db()
    assert old.revoked_at is None
    assert new.revoked_by == "the policy for everybody"
    assert policy_for(alan).max_unused_days == 30


def test_a_disabled_token_follows_the_policies_before_it_is_enabled(
    alan: User,
) -> None:
    now = timezone.now()
    wide, _ = make_token(alan, scopes=["read:users!user", "tokens!user"])
    elsewhere, _ = make_token(alan, networks=["192.0.2.0/24"])
    disable_tokens(APIToken.objects.all(), by=Actor("user", "alan"), now=now)
    TokenPolicy.objects.create(
        max_expires_in=DAY,
        scope_ceiling=["read:users"],
        networks=["10.0.0.0/8"],
        effective_from=now,
    )

    apply_all(now)

    wide.refresh_from_db()
    elsewhere.refresh_from_db()
    assert wide.scopes == ["read:users!user"]
    assert wide.networks == ["10.0.0.0/8"]
    assert wide.expires_at == wide.created + timedelta(seconds=DAY)
    assert wide.disabled_by == "alan"
    # The owner does not enable what the policy shuts out.
    assert elsewhere.disabled_by == "the policy for everybody"
    assert apply_all(now) == 0


def test_an_approved_life_counts_until_the_policy_changes(
    as_: Any, ada: User, alan: User, pages: Any
) -> None:
    now = timezone.now()
    policy = TokenPolicy.objects.create(max_expires_in=DAY, effective_from=now)
    token, _ = make_token(alan, expires_in=DAY)
    asked = approvals.ask(
        alan, by=Actor("user", "alan"), reason="CI", token=token, expires_in=9 * DAY
    )
    approvals.decide(asked, is_approved=True, by=Actor("user", "ada"))

    assert apply_all() == 0
    token.refresh_from_db()
    assert token.expires_at and token.expires_at > now + timedelta(days=8)
    assert violations(token, policy_for(alan)) == []
    assert not APIToken.objects.filter(violating(now, in_force=True)).exists()

    form = {"max_expires_in": "2", "effective_from": "2020-01-01T00:00"}
    shown = as_(ada).post(pages.of(policy), form)
    assert "1 lives longer than allowed" in text(shown)
    as_(ada).post(pages.of(policy), hidden(shown))
    assert violations(token, policy_for(alan))
    apply_all()
    token.refresh_from_db()
    assert token.expires_at == token.created + timedelta(days=2)
