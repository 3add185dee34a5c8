"""The existing tokens that a policy affects: for its dry run, and to enforce it.

Conditions are SQL as far as possible. Scopes and networks are compared once for each
distinct list, and at most `MOST_LISTS` lists are, so that the time is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Count, F, Q, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce, Trim

from accounts.models import Group, User, UserRole
from accounts.rights import members_among
from scopes.access import Access, Identity, expand
from scopes.definitions import INHERIT
from services.models import Service
from tokens import networks
from tokens.models import APIToken, TokenPolicy
from tokens.policy import excepted, following

# Distinct lists of scopes, or of networks, that are compared with a policy.
MOST_LISTS: Final = 5_000
# Names of owners that a dry run shows.
MOST_NAMES: Final = 10

# For each rule the words for one token and for several, and what happens to them.
WORDS: Final = {
    "life": (
        "lives longer than allowed",
        "live longer than allowed",
        "Their expiry moves to the longest life after their creation; those that are"
        " older end then.",
    ),
    "scopes": (
        "has scopes beyond the ceiling, or all rights of its owner",
        "have scopes beyond the ceiling, or all rights of their owner",
        "Scopes beyond the ceiling are removed. A token with all rights of its owner"
        " gets the scopes of the ceiling instead.",
    ),
    "networks": (
        "may be used from other networks",
        "may be used from other networks",
        "Their networks are limited to those of the policy. A token without a network"
        " in common is disabled.",
    ),
    "unused": (
        "was not used for too long",
        "were not used for too long",
        "They are revoked.",
    ),
    "note": (
        "has no note",
        "have no note",
        "They go on working, because nobody but the owner knows what they are for.",
    ),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a policy, and the number of existing tokens that violate it."""

    words: str
    consequence: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Impact:
    """Whom a policy affects.

    `subject` counts all tokens to which it applies. `owners_full` are owners with as
    many tokens as allowed, or more. `is_partial` says that not all lists of scopes or
    networks were compared, so that the figures are lower bounds.
    """

    subject: int
    tokens: int
    owners: int
    rules: list[Rule]
    names: list[str]
    more_names: int
    owners_full: int
    is_partial: bool


def subjects(policy: TokenPolicy, now: datetime) -> QuerySet[APIToken]:
    """Return the tokens in force of the owners to whom a policy applies."""
    tokens = APIToken.objects.active(now).filter(following())
    if policy.group_id is not None:
        members = User.groups.through.objects.filter(group=policy.group_id)
        return tokens.filter(user__in=members.values("user_id"))
    if policy.role_id is not None:
        held = UserRole.objects.filter(role=policy.role_id)
        groups = Group.roles.through.objects.filter(role=policy.role_id)
        members = User.groups.through.objects.filter(group__in=groups.values("group"))
        services = Service.roles.through.objects.filter(role=policy.role_id)
        return tokens.filter(
            Q(user__in=held.values("user_id"))
            | Q(user__in=members.values("user_id"))
            | Q(service__in=services.values("service_id"))
        )
    return tokens


def violating(
    policy: TokenPolicy, now: datetime, most: int = MOST_LISTS
) -> tuple[QuerySet[APIToken], dict[str, Q], bool]:
    """Return the subjects, a condition for each rule, and whether they are partial."""
    tokens = subjects(policy, now).alias(
        scopes_text=Cast("scopes", TextField()),
        networks_text=Cast("networks", TextField()),
        used_at=Coalesce("last_activity", "created"),
        words=Trim("note"),
    )
    rules: dict[str, Q] = {}
    is_partial = False
    if policy.max_expires_in is not None:
        longest = timedelta(seconds=policy.max_expires_in)
        longer = Q(expires_at=None) | Q(expires_at__gt=F("created") + longest)
        rules["life"] = longer & ~excepted(policy.changed_at)
    if policy.scope_ceiling is not None:
        ceiling = list(policy.scope_ceiling)
        bad, cut = _bad_lists(tokens, "scopes", lambda v: exceeds(ceiling, v), most)
        rules["scopes"], is_partial = Q(scopes_text__in=bad), is_partial or cut
    if policy.networks is not None:
        allowed = list(policy.networks)
        bad, cut = _bad_lists(
            tokens, "networks", lambda v: not networks.covers(allowed, v), most
        )
        rules["networks"] = Q(networks__isnull=True) | Q(networks_text__in=bad)
        is_partial = is_partial or cut
    if policy.max_unused_days is not None:
        since = now - timedelta(days=policy.max_unused_days)
        rules["unused"] = Q(used_at__lte=since)
    if policy.note_required:
        rules["note"] = Q(words="", client_id="")
    return tokens, rules, is_partial


def exceeds(ceiling: list[str], scopes: list[str]) -> bool:
    """Return whether raw scopes are beyond a ceiling, whoever the owner is."""
    if INHERIT in scopes or "all" in scopes:
        return INHERIT not in ceiling
    # Filters for oneself mean the same owner on both sides.
    oneself = Identity("user", "somebody")
    wanted = expand(scopes, oneself)
    return bool(Access.of(expand(ceiling, oneself)).lacking(wanted, members_among))


def impact(policy: TokenPolicy, now: datetime) -> Impact:
    """Return whom a policy would affect, if its existing tokens followed it now."""
    tokens, rules, is_partial = violating(policy, now)
    counted = {f"n_{name}": Count("pk", filter=q) for name, q in rules.items()}
    any_rule = reduce(or_, rules.values(), Q(pk__in=[]))
    figures = tokens.aggregate(
        subject=Count("pk"),
        affected=Count("pk", filter=any_rule),
        users=Count("user", filter=any_rule, distinct=True),
        services=Count("service", filter=any_rule, distinct=True),
        **counted,
    )
    affected = tokens.filter(any_rule).order_by()
    users = User.objects.filter(pk__in=affected.values("user")).order_by("name")
    services = Service.objects.filter(pk__in=affected.values("service"))
    names = list(users.values_list("name", flat=True)[:MOST_NAMES])
    names += [
        f"service {name}"
        for name in services.order_by("name").values_list("name", flat=True)[
            : MOST_NAMES - len(names)
        ]
    ]
    owners = figures["users"] + figures["services"]
    full = 0
    if policy.max_tokens is not None:
        held = subjects(policy, now).filter(client_id="").order_by()
        counts = held.values("user", "service").annotate(number=Count("pk"))
        full = counts.filter(number__gte=policy.max_tokens).count()
    return Impact(
        subject=figures["subject"],
        tokens=figures["affected"],
        owners=owners,
        rules=[_rule(name, figures[f"n_{name}"]) for name in rules],
        names=names,
        more_names=owners - len(names),
        owners_full=full,
        is_partial=is_partial,
    )


def _rule(name: str, number: int) -> Rule:
    one, several, consequence = WORDS[name]
    return Rule(one if number == 1 else several, consequence, number)


def _bad_lists(
    tokens: QuerySet[APIToken],
    column: str,
    is_bad: Callable[[list[str]], bool],
    most: int,
) -> tuple[list[str], bool]:
    """Return the distinct lists of a column, as SQL text, that are refused."""
    held = tokens.filter(**{f"{column}__isnull": False}).order_by()
    name = f"{column}_text"
    listed = held.annotate(text=F(name)).values_list("text", flat=True).distinct()
    texts = list(listed[: most + 1])
    bad = [text for text in texts[:most] if is_bad(json.loads(text))]
    return bad, len(texts) > most
