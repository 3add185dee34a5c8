"""Actions on policies: define and delete them, and apply them to existing tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.actions import record
from audit.models import Actor
from database.locks import locked
from scopes.definitions import INHERIT
from scopes.grammar import check_scopes
from tokens import networks
from tokens.models import APIToken, TokenPolicy
from tokens.policy import check_policy_fields
from tokens.policy_impact import exceeds, violating

RULES = (
    *("max_expires_in", "default_expires_in", "note_required", "scope_ceiling"),
    *("networks", "approval_scopes", "max_tokens", "max_unused_days"),
    "effective_from",
)
BY = Actor.system("policy")
# The beginning of what a token that a policy ended or disabled names as the cause.
CAUSE = "the policy for "
# Tokens that one transaction changes, so that other writers wait briefly.
BATCH = 500
# Distinct lists of scopes or networks that one run compares.
MOST_LISTS = 20_000


@transaction.atomic
def save_policy(policy: TokenPolicy, *, by: Actor) -> TokenPolicy:
    """Store a new or changed policy; record its rules and those before."""
    check_policy_fields(policy)
    for scopes in (policy.scope_ceiling, policy.approval_scopes):
        if scopes is not None:
            check_scopes(scopes)
    earlier = TokenPolicy.objects.filter(pk=policy.pk).first() if policy.pk else None
    policy.changed_at, policy.changed_by = timezone.now(), by.label
    policy.save()
    record(
        by,
        "policy.define",
        "policy",
        str(policy),
        before=None if earlier is None else rules_of(earlier),
        after=rules_of(policy),
    )
    return policy


@transaction.atomic
def delete_policy(policy: TokenPolicy, *, by: Actor) -> None:
    """Delete a policy; tokens that it has changed stay as they are."""
    record(by, "policy.delete", "policy", str(policy), before=rules_of(policy))
    policy.delete()


def rules_of(policy: TokenPolicy) -> dict[str, Any]:
    """Return the rules of a policy, without those that it does not have."""
    rules = {name: getattr(policy, name) for name in RULES}
    return {name: value for name, value in rules.items() if value not in (None, False)}


@transaction.atomic
def apply_policies(
    now: datetime,
    *,
    by: Actor = BY,
    most: int = BATCH,
    policies: QuerySet[TokenPolicy] | None = None,
) -> int:
    """Change a batch of existing tokens as the policies demand; return their number.

    These are all policies, unless some are named.

    To apply all, call this until the result is 0. The policies are those whose date for
    existing tokens has come. Unused tokens that were created since the last change of
    a policy follow it before that date, too, because new tokens follow it at once.
    """
    chosen_policies = TokenPolicy.objects.all() if policies is None else policies
    for policy in chosen_policies.select_related("role", "group"):
        in_force = policy.effective_from is not None and policy.effective_from <= now
        if not in_force and policy.max_unused_days is None:
            continue
        tokens, rules, _ = violating(policy, now, MOST_LISTS)
        if not in_force:
            tokens = tokens.filter(created__gte=policy.changed_at)
            rules = {"unused": rules["unused"]}
        for name, apply in APPLY.items():
            if name not in rules:
                continue
            chosen = _some(tokens, rules[name] & DUE.get(name, Q()), most)
            if chosen:
                apply(chosen, policy, now, by)
                return len(chosen)
    return 0


def _some(tokens: QuerySet[APIToken], rule: Q, most: int) -> list[APIToken]:
    """Lock the first tokens that violate a rule, disabled ones as well.

    Otherwise a token that is enabled later would go on as if there were no policy.
    """
    ids = tokens.filter(rule).order_by("pk").values_list("pk")
    some = APIToken.objects.filter(pk__in=[pk for (pk,) in ids[:most]])
    return list(locked(some))


def _end_unused(
    tokens: list[APIToken], policy: TokenPolicy, now: datetime, by: Actor
) -> None:
    _update(
        *(tokens, policy, by, "revoke"),
        revoked_at=now,
        revoked_by=f"{CAUSE}{policy}",
        unused_days=policy.max_unused_days,
    )


def _shorten(
    tokens: list[APIToken], policy: TokenPolicy, now: datetime, by: Actor
) -> None:
    longest = timedelta(seconds=policy.max_expires_in or 0)
    before = {str(token): token.expires_at for token in tokens}
    for token in tokens:
        token.expires_at = token.created + longest
        token.reminded_days = None
    APIToken.objects.bulk_update(tokens, ("expires_at", "reminded_days"))
    _record(tokens, policy, by, "shorten", longest=policy.max_expires_in, before=before)


def _narrow(
    tokens: list[APIToken], policy: TokenPolicy, now: datetime, by: Actor
) -> None:
    ceiling = list(policy.scope_ceiling or ())
    before = {str(token): token.scopes for token in tokens}
    for token in tokens:
        held = token.scopes
        if INHERIT in held or "all" in held:
            token.scopes = ceiling
        else:
            token.scopes = [scope for scope in held if not exceeds(ceiling, [scope])]
    APIToken.objects.bulk_update(tokens, ("scopes",))
    _record(tokens, policy, by, "narrow", ceiling=ceiling, before=before)


def _limit(
    tokens: list[APIToken], policy: TokenPolicy, now: datetime, by: Actor
) -> None:
    shut_out, limited = [], []
    before = {str(token): token.networks for token in tokens}
    for token in tokens:
        allowed = networks.overlap(token.networks, policy.networks)
        if allowed:
            token.networks = allowed
            limited.append(token)
        else:
            shut_out.append(token)
    if limited:
        APIToken.objects.bulk_update(limited, ("networks",))
        _record(
            *(limited, policy, by, "limit"), networks=policy.networks, before=before
        )
    if shut_out:
        _update(
            *(shut_out, policy, by, "disable"),
            disabled_at=now,
            disabled_by=f"{CAUSE}{policy}",
        )


APPLY = {
    "unused": _end_unused,
    "life": _shorten,
    "scopes": _narrow,
    "networks": _limit,
}
# A token without a network in common stays as it is once a policy has disabled it.
DUE = {
    "networks": Q(disabled_at=None) | ~Q(disabled_by__startswith=CAUSE),
}


def _update(
    tokens: list[APIToken],
    policy: TokenPolicy,
    by: Actor,
    act: str,
    *,
    unused_days: int | None = None,
    **columns: datetime | str,
) -> None:
    pks = [token.pk for token in tokens]
    APIToken.objects.filter(pk__in=pks).update(**columns)
    detail = {} if unused_days is None else {"unused_days": unused_days}
    _record(tokens, policy, by, act, **detail)


def _record(
    tokens: list[APIToken], policy: TokenPolicy, by: Actor, act: str, **detail: Any
) -> None:
    names = [str(token) for token in tokens]
    record(
        by,
        f"token.{act}",
        "token",
        names[0] if len(names) == 1 else "",
        names=names,
        policy=str(policy),
        **detail,
    )
