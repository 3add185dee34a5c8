"""The number of active tokens that one user may have."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.models import Role, User
from scopes.refusals import Conflict
from tokens import policy
from tokens.policy import Policy


def has_room(
    user: User, now: datetime, rules: Policy | None = None
) -> tuple[str, list[Any]]:
    """Return the condition, in SQL, under which a user may have one more token.

    Tokens that the hub issued by itself, for servers and OAuth clients, are not
    counted, and neither are those of the configuration. The condition is part of the
    statement that stores the token, so that two requests at once are both counted.
    """
    limit = limit_of(user, rules)
    if limit is None:
        return "", []
    # No more rows than the limit are read, however many there are.
    condition = (
        "(SELECT count(*) FROM (SELECT 1 FROM tokens_apitoken h"
        " WHERE h.user_id = %s AND h.purpose IN ('person', 'program', '')"
        " AND h.revoked_at IS NULL"
        " AND (h.expires_at IS NULL OR h.expires_at > %s) LIMIT %s) held) < %s"
    )
    moment = connection.ops.adapt_datetimefield_value(now)
    return condition, [user.pk, moment, limit, limit]


def limit_refusal(user: User, rules: Policy) -> Conflict:
    limit = limit_of(user, rules)
    if limit is not None and limit == rules.max_tokens:
        return Conflict(
            f"User {user.name} has {limit} active tokens, as many as allowed by"
            f" {rules.source}: revoke some that are not needed, or use one of them."
        )
    return Conflict(
        f"User {user.name} has {limit} active tokens, as many as one user"
        " may have: revoke some that are not needed, or use one of them. An"
        " administrator can raise the limit (c.Hub.token_limit_per_user)."
    )


def limit_of(user: User, rules: Policy | None = None) -> int | None:
    """Return the number of tokens that a user may have; None means no limit.

    Of the limits of the configuration the highest applies, and beyond that the policy.
    """
    configured = _configured_limit(user) or None
    return policy.least(configured, None if rules is None else rules.max_tokens)


def _configured_limit(user: User) -> int:
    """Return the highest limit that applies to a user; 0 means no limit."""
    hub = settings.HUB
    limits = [hub.token_limit_per_user]
    if hub.token_limits_by_role:
        held = Role.objects.filter(Q(users=user) | Q(groups__users=user))
        names = held.filter(name__in=hub.token_limits_by_role).values_list("name")
        limits += [hub.token_limits_by_role[name] for (name,) in names]
    return 0 if 0 in limits else max(limits)
