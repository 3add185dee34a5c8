"""The tokens that violate a policy, as a condition for queries.

`tokens.policy.violations` decides about one token. The list of the admin finds these
tokens among all, so the same rules are written here for the database. Ceilings compare
scopes, which the database can't: the distinct lists of scopes are compared, and for
tokens with everything that their owners may do, the roles.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from django.db import connection
from django.db.models import (
    BooleanField,
    F,
    FloatField,
    Func,
    Q,
    TextField,
    Value,
)
from django.db.models.functions import Cast
from django.db.models.lookups import Contains, GreaterThan, In

from accounts.models import Group, Role, User, UserRole
from accounts.rights import members_among
from database.networks import any_listed_outside
from scopes.access import Access, Identity, expand
from scopes.definitions import INHERIT
from services.models import Service
from tokens.models import APIToken, TokenPolicy
from tokens.policy import excepted, following

# Most distinct lists of scopes that are compared with a ceiling.
MOST_LISTS: Final = 5_000
BLANKS: Final = " \t\n\r\f\v"
# A name that nobody can have, for comparisons that are the same for all owners.
ANYBODY: Final = " "

NOTHING: Final = Q(pk__in=())

# Returns the result of `_scopes_in_use`, which is read once for all policies.
InUse = Callable[[], list[tuple[int, str]]]
# The scopes of a row as JSON.
TEXT: Final = Cast("scopes", TextField())


def violating(now: datetime, *, in_force: bool) -> Q:
    """Match tokens that violate a policy.

    `in_force` leaves out policies that existing tokens need not follow yet.
    """
    rows = TokenPolicy.objects.select_related("role", "group").order_by("pk")
    if in_force:
        rows = rows.filter(effective_from__lte=now)
    condition, in_use = NOTHING, cache(_scopes_in_use)
    for row in rows:
        condition |= _owners(row) & _against(row, now, in_use)
    return following() & condition


def _owners(row: TokenPolicy) -> Q:
    """Match the tokens of those to whom a policy applies."""
    if row.group_id is not None:
        members = User.groups.through.objects.filter(group=row.group_id)
        return Q(user__in=members.values("user_id"))
    if row.role_id is not None:
        return _holders([row.role_id])
    return Q()


def _holders(roles: Any) -> Q:
    """Match the tokens of users and services with one of these roles."""
    direct = UserRole.objects.filter(role__in=roles)
    groups = Group.roles.through.objects.filter(role__in=roles)
    members = User.groups.through.objects.filter(group__in=groups.values("group_id"))
    services = Service.roles.through.objects.filter(role__in=roles)
    return (
        Q(user__in=direct.values("user_id"))
        | Q(user__in=members.values("user_id"))
        | Q(service__in=services.values("service_id"))
    )


def _against(row: TokenPolicy, now: datetime, in_use: InUse) -> Q:
    """Match the tokens that break a rule of a policy."""
    condition = NOTHING
    if row.max_expires_in is not None:
        longer = Q(expires_at=None) | _lives_longer(row.max_expires_in)
        condition |= longer & ~excepted(row.changed_at)
    if row.note_required:
        condition |= Q(_Trimmed(F("note"), Value(BLANKS)), client_id="")
    if row.scope_ceiling is not None:
        condition |= _above(row.scope_ceiling, in_use())
    if row.networks is not None:
        condition |= Q(networks__isnull=True) | any_listed_outside(
            "networks", row.networks
        )
    if row.max_unused_days is not None:
        since = now - timedelta(days=row.max_unused_days)
        condition |= Q(last_activity__lte=since) | Q(
            last_activity=None, created__lte=since
        )
    return condition


class _Trimmed(Func):
    """Return whether a text consists of blanks."""

    function = "trim"
    output_field = BooleanField()
    conditional = True
    template = "%(function)s(%(expressions)s) = ''"

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, function="btrim", **context)


class _Day(Func):
    """A time as a number of days; SQLite computes no differences of times itself."""

    function = "julianday"
    output_field = FloatField()


def _lives_longer(seconds: int) -> Q:
    if connection.vendor == "sqlite":
        # A thousandth of a second is below the precision of these numbers.
        days = (seconds + 0.001) / 86_400
        return Q(GreaterThan(_Day(F("expires_at")) - _Day(F("created")), days))
    return Q(expires_at__gt=F("created") + timedelta(seconds=seconds))


# Ceilings


def _above(ceiling: list[str], in_use: list[tuple[int, str]]) -> Q:
    """Match the tokens with scopes beyond a ceiling."""
    user = Access.of(expand(ceiling, Identity("user", ANYBODY)))
    service = Access.of(expand(ceiling, Identity("service", ANYBODY)))
    roles, beyond = [], []
    for role, text in in_use:
        scopes = json.loads(text)
        if not role:
            if _is_beyond(user, "user", scopes):
                beyond.append(text)
        elif _is_beyond(user, "user", scopes) or _is_beyond(service, "service", scopes):
            roles.append(role)
    everything = Q(Contains(TEXT, f'"{INHERIT}"')) | Q(Contains(TEXT, '"all"'))
    above = everything & _holders(roles)
    return above | Q(In(TEXT, beyond)) if beyond else above


def _is_beyond(ceiling: Access, kind: str, scopes: list[str]) -> bool:
    wanted = expand(
        [scope for scope in scopes if scope not in (INHERIT, "all")],
        Identity(kind, ANYBODY),
    )
    return bool(ceiling.lacking(wanted, members_among))


def _scopes_in_use() -> list[tuple[int, str]]:
    """Return the scopes of each role and the distinct lists of all tokens, as JSON.

    The first value is the id of the role, and 0 for tokens. It is one query, because
    the list of the admin has several already.
    """
    of_tokens = APIToken.objects.order_by().annotate(held_by=Value(0), text=TEXT)
    of_roles = Role.objects.order_by().annotate(held_by=F("pk"), text=TEXT)
    columns = ("held_by", "text")
    found = of_roles.values_list(*columns).union(of_tokens.values_list(*columns))
    return list(found.order_by("-held_by")[:MOST_LISTS])
