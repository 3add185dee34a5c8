"""The tokens that violate a policy, as a condition for queries.

`tokens.policy.violations` decides about one token. The list of the admin finds these
tokens among all, so the same rules are written here for the database. Ceilings compare
scopes, which the database can't: the distinct lists of scopes are compared, and for
tokens with everything that their owners may do, the roles.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import (
    BooleanField,
    F,
    FloatField,
    Func,
    Q,
    QuerySet,
    TextField,
    Value,
)
from django.db.models.functions import Cast

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


def violating(now: datetime, *, in_force: bool) -> Q:
    """Match tokens that violate a policy.

    `in_force` leaves out policies that existing tokens need not follow yet.
    """
    rows = TokenPolicy.objects.select_related("role", "group").order_by("pk")
    if in_force:
        rows = rows.filter(effective_from__lte=now)
    condition = NOTHING
    for row in rows:
        condition |= _owners(row) & _against(row, now)
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


def _against(row: TokenPolicy, now: datetime) -> Q:
    """Match the tokens that break a rule of a policy."""
    condition = NOTHING
    if row.max_expires_in is not None:
        longer = Q(expires_at=None) | _lives_longer(row.max_expires_in)
        condition |= longer & ~excepted(row.changed_at)
    if row.note_required:
        condition |= Q(_Trimmed(F("note"), Value(BLANKS)), client_id="")
    if row.scope_ceiling is not None:
        condition |= _above(row.scope_ceiling)
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
    """Tell whether a text consists of blanks."""

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
        return Q(
            pk__in=APIToken.objects.order_by()
            .alias(life=_Day(F("expires_at")) - _Day(F("created")))
            .filter(life__gt=days)
            .values("pk")
        )
    return Q(expires_at__gt=F("created") + timedelta(seconds=seconds))


# Ceilings


def _above(ceiling: list[str]) -> Q:
    """Match the tokens with scopes beyond a ceiling."""
    user = Access.of(expand(ceiling, Identity("user", ANYBODY)))
    service = Access.of(expand(ceiling, Identity("service", ANYBODY)))
    roles = [
        role.pk
        for role in Role.objects.order_by("pk")
        if _is_beyond(user, "user", role.scopes)
        or _is_beyond(service, "service", role.scopes)
    ]
    everything = _has_everything() & _holders(roles)
    beyond = [
        text
        for text in _lists_of_scopes()
        if _is_beyond(user, "user", json.loads(text))
    ]
    return everything | Q(pk__in=_with_scopes(beyond))


def _is_beyond(ceiling: Access, kind: str, scopes: list[str]) -> bool:
    wanted = expand(
        [scope for scope in scopes if scope not in (INHERIT, "all")],
        Identity(kind, ANYBODY),
    )
    return bool(ceiling.lacking(wanted, members_among))


def _has_everything() -> Q:
    with_text = APIToken.objects.order_by().alias(text=Cast("scopes", TextField()))
    return Q(
        pk__in=with_text.filter(
            Q(text__contains=f'"{INHERIT}"') | Q(text__contains='"all"')
        ).values("pk")
    )


def _lists_of_scopes() -> list[str]:
    """Return the distinct lists of scopes of all tokens, as JSON."""
    texts = APIToken.objects.order_by().values_list(Cast("scopes", TextField()))
    return [text for (text,) in texts.distinct()[:MOST_LISTS]]


def _with_scopes(texts: list[str]) -> QuerySet[APIToken, Any]:
    with_text = APIToken.objects.order_by().alias(text=Cast("scopes", TextField()))
    return with_text.filter(text__in=texts).values("pk")
