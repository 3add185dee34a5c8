"""The policy for tokens, at every way to a token."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Group, User
from scopes.refusals import Conflict, Invalid
from services.models import Service
from tests.factories import BY, make_group, make_role, make_token
from tokens import policy
from tokens.actions.changes import change_scopes, extend_token, rename_token, set_limits
from tokens.actions.issuing import issue_token
from tokens.actions.rotation import rotate_token
from tokens.models import APIToken, CreatedVia, Purpose, TokenPolicy
from tokens.policy import AgainstPolicy, NeedsApproval, merge, policy_for, violations
from tokens.policy_actions import apply_policies
from tokens.policy_conditions import violating
from tokens.policy_impact import impact
from tokens.verification import verify

DAY = 86_400


@pytest.fixture
def math(alan: User) -> Group:
    return make_group("math", users=[alan])


def rule(**fields: Any) -> TokenPolicy:
    return TokenPolicy.objects.create(**fields)


def test_without_policies_nothing_changes(alan: User, math: Group) -> None:
    assert not policy_for(alan)
    assert make_token(alan)[0].expires_at is None


def test_the_strictest_value_applies(alan: User, ci: Service, math: Group) -> None:
    role = make_role("staff", groups=[math])
    rule(max_expires_in=90 * DAY, note_required=True, networks=["10.0.0.0/8"])
    rule(group=math, max_expires_in=30 * DAY, max_tokens=3, networks=["10.1.0.0/16"])
    rule(role=role, max_tokens=5, approval_scopes=["tokens"], default_expires_in=DAY)
    rule(group=make_group("other"), max_expires_in=1)
    rule(role=make_role("nobody"), max_tokens=0)

    found = policy_for(alan)

    assert found.max_expires_in == 30 * DAY
    assert found.default_expires_in == DAY
    assert found.note_required
    assert found.networks == ["10.1.0.0/16"]
    assert found.max_tokens == 3
    assert found.approval_scopes == {"tokens"}
    assert policy_for(ci).max_expires_in == 90 * DAY
    assert policy_for(ci).max_tokens is None


def test_networks_that_exclude_each_other_allow_none() -> None:
    found = merge(
        [TokenPolicy(networks=["10.0.0.0/8"]), TokenPolicy(networks=["192.0.2.0/24"])]
    )

    assert found.networks == []
    with pytest.raises(AgainstPolicy, match="exclude each other"):
        policy.check_networks(found, None)


@pytest.mark.parametrize("via", [*CreatedVia])
def test_each_way_to_a_token_asks_the_policy(alan: User, via: CreatedVia) -> None:
    rule(max_expires_in=60)
    of_the_hub = via in (CreatedVia.SERVER, CreatedVia.SERVICE)

    if of_the_hub:
        issue_token(alan, by=BY, via=via, expires_in=61)
    else:
        with pytest.raises(AgainstPolicy, match="by the policy for everybody"):
            issue_token(alan, by=BY, via=via, expires_in=61)


def test_a_token_of_a_client_is_made_to_fit(alan: User) -> None:
    rule(
        max_expires_in=60,
        note_required=True,
        scope_ceiling=["read:users"],
        approval_scopes=["read:users"],
        max_tokens=0,
    )

    token, _ = issue_token(
        alan,
        by=BY,
        via=CreatedVia.OAUTH,
        client_id="service-x",
        scopes=["read:users!user", "tokens!user"],
        expires_in=DAY,
    )

    assert token.scopes == ["read:users!user"]
    assert token.expires_at == token.created + timedelta(seconds=60)
    assert token.purpose == Purpose.CLIENT


def test_the_default_life_is_for_those_who_state_none(alan: User) -> None:
    rule(default_expires_in=DAY, max_expires_in=30 * DAY)

    usual, _ = make_token(alan)
    stated, _ = make_token(alan, expires_in=20 * DAY)

    assert usual.expires_at == usual.created + timedelta(days=1)
    assert stated.expires_at == stated.created + timedelta(days=20)


def test_a_whole_life_counts_at_an_extension(alan: User) -> None:
    now = timezone.now()
    token, _ = make_token(alan, expires_in=DAY, now=now - timedelta(hours=12))
    rule(max_expires_in=DAY)

    with pytest.raises(AgainstPolicy, match="1 day at most"):
        extend_token(token, DAY, by=BY)
    extend_token(token, DAY // 2, by=BY, now=now)


def test_a_note_is_required(alan: User) -> None:
    rule(note_required=True)

    with pytest.raises(AgainstPolicy, match="A note is required"):
        make_token(alan, note="  ")
    token, _ = make_token(alan, note="for CI")
    with pytest.raises(AgainstPolicy, match="A note is required"):
        rename_token(token, "", by=BY)


def test_scopes_stay_below_the_ceiling(alan: User, math: Group) -> None:
    rule(group=math, scope_ceiling=["read:users", "access:servers"])
    rule(scope_ceiling=["read:users", "tokens"])

    make_token(alan, scopes=["read:users!user"])
    for scopes in (None, ["tokens!user"], ["access:servers!user"]):
        with pytest.raises(AgainstPolicy, match="may not have"):
            make_token(alan, scopes=scopes)
    token, _ = make_token(alan, scopes=["read:users:name!user"])
    with pytest.raises(AgainstPolicy, match="may not have"):
        change_scopes(token, ["tokens!user"], by=BY)
    assert change_scopes(token, ["read:users!user"], by=BY).scopes


def test_powerful_scopes_need_an_approval(alan: User, ada: User) -> None:
    rule(approval_scopes=["tokens", "admin:users"])

    for scopes in (None, ["tokens!user"]):
        with pytest.raises(NeedsApproval) as refused:
            make_token(alan, scopes=scopes)
        assert "tokens!user=alan" in refused.value.scopes
    make_token(alan, scopes=["read:users!user"])
    token, _ = make_token(alan, scopes=["tokens!user"], is_approved=True)
    assert token.scopes == ["tokens!user"]
    make_token(ada, scopes=["read:users"])
    with pytest.raises(NeedsApproval):
        make_token(ada, scopes=["admin:users!user=alan"])


def test_a_change_of_scopes_needs_an_approval_too(alan: User) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"])
    rule(approval_scopes=["tokens"])

    with pytest.raises(NeedsApproval):
        change_scopes(token, ["tokens!user"], by=BY)
    assert change_scopes(token, ["tokens!user"], by=BY, is_approved=True).scopes


def test_later_rights_need_an_approval_too(alan: User) -> None:
    """All permissions are those of now, unless an administrator approved them."""
    rule(approval_scopes=["admin:users", "list:groups"])
    token, secret = make_token(alan)
    widened, _ = make_token(alan, scopes=["read:users!user"])
    widened = change_scopes(widened, ["inherit"], by=BY)
    _, approved = make_token(alan, is_approved=True)
    before = verify(secret)
    assert before and before.access == alan.access

    make_role("later", "admin:users", "list:groups", users=[alan])

    bearer = verify(secret)
    assert bearer and bearer.access.has("read:users")
    for access in (bearer.access, widened.access):
        assert not access.has("admin:users") and not access.has("list:groups")
    bearer = verify(approved)
    assert bearer and bearer.access.has("admin:users")
    assert "inherit" not in token.scopes + widened.scopes


def test_networks_are_those_of_the_policy(alan: User) -> None:
    rule(networks=["10.0.0.0/8"])

    assert make_token(alan)[0].networks == ["10.0.0.0/8"]
    token, _ = make_token(alan, networks=["10.1.0.0/16"])
    assert token.networks == ["10.1.0.0/16"]
    with pytest.raises(AgainstPolicy, match=r"from 10\.0\.0\.0/8 only"):
        make_token(alan, networks=["192.0.2.0/24"])
    lifted = set_limits(token, networks=None, rate_limit=None, by=BY)
    assert lifted.networks == ["10.0.0.0/8"]


@pytest.mark.parametrize("most", [0, 2])
def test_an_owner_has_a_number_of_tokens(alan: User, most: int) -> None:
    rule(max_tokens=most)
    for _ in range(most):
        make_token(alan)

    with pytest.raises(Conflict, match="the policy for everybody"):
        make_token(alan)
    assert APIToken.objects.count() == most


def test_violations_of_existing_tokens(alan: User) -> None:
    token, _ = make_token(alan)
    strict = merge(
        [
            TokenPolicy(
                max_expires_in=DAY,
                note_required=True,
                scope_ceiling=["read:users"],
                networks=["10.0.0.0/8"],
                max_unused_days=0,
            )
        ]
    )

    assert len(violations(token, strict)) == 5
    assert violations(token, policy.NO_POLICY) == []


def test_only_policies_in_force_bind_existing_tokens(alan: User) -> None:
    make_token(alan)
    now = timezone.now()
    rule(max_expires_in=DAY, effective_from=now + timedelta(days=1))

    def are_bound(moment: datetime) -> bool:
        return APIToken.objects.filter(violating(moment, in_force=True)).exists()

    assert not are_bound(now)
    assert are_bound(now + timedelta(days=2))
    TokenPolicy.objects.update(effective_from=None)
    assert not are_bound(now + timedelta(days=2))


@pytest.mark.parametrize(
    "fields",
    [
        {"max_expires_in": 0},
        {"max_expires_in": 5, "default_expires_in": 6},
        {"networks": ["odd"]},
    ],
)
def test_odd_policies_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        policy.check_policy_fields(TokenPolicy(**fields))


# Changes of existing tokens, after which the policy would have refused a new one


STRICT: dict[str, dict[str, Any]] = {
    "note": {"note_required": True},
    "ceiling": {"scope_ceiling": ["read:users:name"]},
    "networks": {"networks": ["10.0.0.0/8"]},
    "approval": {"approval_scopes": ["read:users"]},
    "life": {"max_expires_in": DAY},
}


def extend(token: APIToken, **options: Any) -> None:
    extend_token(token, 3 * DAY, by=BY, **options)


def widen(token: APIToken, **options: Any) -> None:
    scopes = ["read:users!user", "list:users!user"]
    change_scopes(token, scopes, by=BY, **options)


@pytest.mark.parametrize("change", [extend, widen])
@pytest.mark.parametrize("rules", STRICT)
def test_an_old_token_gets_nothing_that_a_new_one_would_not(
    alan: User, change: Any, rules: str
) -> None:
    make_role("lister", "list:users!user", users=[alan])
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=2 * DAY)
    before = (token.expires_at, token.scopes)
    rule(**STRICT[rules])

    with pytest.raises(AgainstPolicy):
        change(token)

    token.refresh_from_db()
    assert (token.expires_at, token.scopes) == before


@pytest.mark.parametrize("rules", ["note", "ceiling", "networks"])
def test_an_approved_change_of_an_old_token_follows_all_other_rules(
    alan: User, rules: str
) -> None:
    make_role("lister", "list:users!user", users=[alan])
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=2 * DAY)
    rule(**STRICT[rules])

    for change in (extend, widen):
        with pytest.raises(AgainstPolicy):
            change(token, is_approved=True)


@pytest.mark.parametrize("rules", STRICT)
def test_an_old_token_may_be_narrowed_shortened_and_rotated(
    alan: User, rules: str
) -> None:
    token, _ = make_token(alan, scopes=["read:users!user"], expires_in=2 * DAY)
    rule(**STRICT[rules])

    extend_token(token, 60, by=BY)
    change_scopes(token, ["read:users:name!user"], by=BY)
    rotate_token(token, by=BY)


def test_an_extension_gives_no_later_rights(alan: User) -> None:
    token, _ = make_token(alan, expires_in=DAY)
    rule(approval_scopes=["admin:users"])

    extended = extend_token(token, 2 * DAY, by=BY)

    assert "inherit" not in extended.scopes
    assert extended.access == alan.access


def test_no_extension_leads_beyond_the_configured_life(
    alan: User, settings: Any
) -> None:
    """A token that is extended each month would never end."""
    settings.HUB = replace(settings.HUB, token_expires_in_max_seconds=30 * DAY)
    now = timezone.now()
    token, _ = make_token(alan, expires_in=25 * DAY, now=now - timedelta(days=20))
    longest = token.created + timedelta(days=30)

    with pytest.raises(Invalid, match="must not exceed"):
        extend_token(token, 11 * DAY, by=BY, now=now)
    with pytest.raises(Invalid, match="must not exceed"):
        extend_token(token, 11 * DAY, by=BY, now=now, is_approved=True)
    assert extend_token(token, None, by=BY, now=now).expires_at == longest
    assert extend_token(token, None, by=BY, now=now + timedelta(days=1)).expires_at == (
        longest
    )


def test_a_service_has_a_number_of_tokens_by_policy(ci: Service) -> None:
    rule(max_tokens=2)
    for via in (CreatedVia.API, CreatedVia.SERVICE, CreatedVia.ADMIN):
        make_token(ci, via=via)

    with pytest.raises(Conflict, match=f"Service {ci.name} has 2 active tokens"):
        make_token(ci)
    make_token(ci, via=CreatedVia.SERVICE)


@pytest.mark.parametrize(
    ("columns", "follows"),
    [
        ({}, True),
        ({"purpose": Purpose.SERVER}, False),
        ({"created_via": CreatedVia.SERVER}, False),
        ({"created_via": CreatedVia.SERVICE}, False),
        ({"origin": "brought", "created_via": CreatedVia.CONFIG}, False),
        ({"origin": "brought", "created_via": ""}, False),
        ({"origin": "brought", "created_via": CreatedVia.IMPORT}, True),
        (
            {
                "origin": "brought",
                "created_via": CreatedVia.IMPORT,
                "purpose": Purpose.SERVER,
            },
            False,
        ),
        ({"created_via": CreatedVia.OAUTH, "client_id": "service-x"}, True),
    ],
)
def test_which_existing_tokens_follow_policies(
    alan: User, columns: dict[str, Any], follows: bool
) -> None:
    """The page of a token, the filter, the dry run and the controller agree."""
    now = timezone.now()
    token, _ = make_token(alan)
    APIToken.objects.filter(pk=token.pk).update(**columns)
    token.refresh_from_db()
    row = rule(max_expires_in=DAY, effective_from=now)

    assert bool(violations(token, policy_for(alan))) == follows
    assert APIToken.objects.filter(violating(now, in_force=True)).exists() == follows
    assert impact(row, now).tokens == follows
    assert apply_policies(now) == follows


def test_no_note_is_missed_at_tokens_of_clients(alan: User) -> None:
    token, _ = make_token(alan)
    APIToken.objects.filter(pk=token.pk).update(client_id="service-x")
    token.refresh_from_db()
    row = rule(note_required=True)
    now = timezone.now()

    assert violations(token, policy_for(alan)) == []
    assert not APIToken.objects.filter(violating(now, in_force=False)).exists()
    assert impact(row, now).tokens == 0
