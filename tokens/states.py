"""The states of a token: the same words in lists, filters, exports, pages and the API.

A token can be several of these at once, for example disabled and expired. Its state is
then the one that is harder to end, which is the later one of `STATES`.
"""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Case, Exists, OuterRef, Q, SmallIntegerField, When

from tokens.models import APIToken, CreatedVia, TokenExchange

# In the order in which lists sort them.
STATES: Final = ("active", "stopped", "disabled", "frozen", "expired", "revoked")


def state_of(token: APIToken) -> str:
    """Return the state of a token in one word."""
    if token.revoked_at is not None:
        return "revoked"
    if token.is_expired:
        return "expired"
    if token.frozen_at is not None:
        return "frozen"
    if token.disabled_at is not None:
        return "disabled"
    return "stopped" if token.is_stopped else "active"


def in_state(state: str, now: datetime) -> Q:
    """Match the tokens that have this state."""
    parts = _parts(now)
    harder = [parts[each] for each in STATES[STATES.index(state) + 1 :]]
    others = ~reduce(or_, harder) if harder else Q()
    return parts[state] & others if state in parts else others


def position(now: datetime) -> Case:
    """Return the position of a token's state in `STATES`, for sorting."""
    parts = _parts(now)
    cases = [
        When(parts[state], then=number)
        for number, state in reversed([*enumerate(STATES)][1:])
    ]
    return Case(*cases, default=0, output_field=SmallIntegerField())


def _parts(now: datetime) -> dict[str, Q]:
    """Return a condition for each state but the first; several may match one token."""
    exchanges = TokenExchange.objects.in_force().filter(token=OuterRef("pk"))
    return {
        "stopped": Q(created_via=CreatedVia.EXCHANGE) & ~Q(Exists(exchanges)),
        "disabled": Q(disabled_at__isnull=False),
        "frozen": Q(frozen_at__isnull=False),
        "expired": Q(expires_at__lte=now),
        "revoked": Q(revoked_at__isnull=False),
    }
