"""The number of active tokens that one owner may have."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.models import Role, User
from scopes.refusals import Conflict
from services.models import Service
from tokens import policy
from tokens.policy import Policy

# The SQL conditions of the tokens that count as an owner's.
HELD = {
    "user": "h.user_id = %s AND h.purpose IN ('person', 'program', '')",
    "service": "h.service_id = %s AND h.purpose IN ('service', '')"
    " AND h.created_via NOT IN ('service', 'config')",
}


def has_room(
    owner: User | Service, now: datetime, rules: Policy | None = None
) -> tuple[str, list[Any]]:
    """Return the condition, in SQL, under which an owner may have one more token.

    Tokens that the hub issued by itself, for servers, services and OAuth clients, are
    not counted, and neither are those of the configuration. The condition is part of
    the statement that stores the token, so that two requests at once are both counted.
    """
    limit = limit_of(owner, rules)
    if limit is None:
        return "", []
    # No more rows than the limit are read, however many there are.
    held = HELD["user" if isinstance(owner, User) else "service"]
    condition = (
        f"(SELECT count(*) FROM (SELECT 1 FROM tokens_apitoken h WHERE {held}"  # noqa: S608
        " AND h.revoked_at IS NULL"
        " AND (h.expires_at IS NULL OR h.expires_at > %s) LIMIT %s) held) < %s"
    )
    moment = connection.ops.adapt_datetimefield_value(now)
    return condition, [owner.pk, moment, limit, limit]


def limit_refusal(owner: User | Service, rules: Policy) -> Conflict:
    limit = limit_of(owner, rules)
    kind = "User" if isinstance(owner, User) else "Service"
    if limit is not None and limit == rules.max_tokens:
        return Conflict(
            f"{kind} {owner.name} has {limit} active tokens, as many as allowed by"
            f" {rules.source}: revoke some that are not needed, or use one of them."
        )
    return Conflict(
        f"{kind} {owner.name} has {limit} active tokens, as many as one user"
        " may have: revoke some that are not needed, or use one of them. An"
        " administrator can raise the limit (c.Hub.token_limit_per_user)."
    )


def limit_of(owner: User | Service, rules: Policy | None = None) -> int | None:
    """Return the number of tokens that an owner may have; None means no limit.

    Of the limits of the configuration, which apply to users only, the highest applies,
    and beyond that the policy.
    """
    configured = _configured_limit(owner) if isinstance(owner, User) else 0
    return policy.least(configured or None, None if rules is None else rules.max_tokens)


def _configured_limit(user: User) -> int:
    """Return the highest limit that applies to a user; 0 means no limit."""
    hub = settings.HUB
    limits = [hub.token_limit_per_user]
    if hub.token_limits_by_role:
        held = Role.objects.filter(Q(users=user) | Q(groups__users=user))
        names = held.filter(name__in=hub.token_limits_by_role).values_list("name")
        limits += [hub.token_limits_by_role[name] for (name,) in names]
    return 0 if 0 in limits else max(limits)
