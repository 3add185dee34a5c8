"""Tokens at which an operator should look: conditions for the overview and the list."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Q, TextField
from django.db.models.functions import Cast

from accounts.models import User
from scopes.definitions import INHERIT
from tokens.models import APIToken, Leak, PreviousSecret, TokenUse

# Scopes that, without a filter, reach everybody's accounts, servers or tokens.
POWERFUL: Final = (
    *("admin:users", "admin:auth_state", "admin:groups", "admin:servers", "admin-ui"),
    *("users", "groups", "servers", "tokens", "shares", "shutdown", "access:servers"),
)
RECENT: Final = timedelta(days=30)
NEW: Final = timedelta(days=7)
UNUSED: Final = timedelta(days=90)


def oddities(now: datetime) -> dict[str, tuple[str, Q]]:
    """Return conditions by their names, each with its words."""
    leaks = Leak.objects.filter(at__gte=now - RECENT).order_by().values("token_id")
    tripped = PreviousSecret.objects.filter(tripped_at__gte=now - RECENT).order_by()
    uses = TokenUse.objects.filter(first_at__gte=now - NEW).order_by()
    unused = Q(last_activity__lt=now - UNUSED) | Q(
        last_activity=None, created__lt=now - UNUSED
    )
    in_force = (Q(expires_at=None) | Q(expires_at__gt=now)) & Q(revoked_at=None)
    return {
        "leaked": ("reported as leaked in the last 30 days", Q(pk__in=leaks)),
        "tripped": (
            "earlier secret used in the last 30 days",
            Q(pk__in=tripped.values("token_id")),
        ),
        "frozen": ("frozen", Q(frozen_at__isnull=False, revoked_at=None)),
        "new_network": (
            "used from a new network in the last 7 days",
            # A new token has no earlier network.
            Q(pk__in=uses.values("token_id"), created__lt=now - NEW),
        ),
        "unending": (
            "powerful and without expiry",
            Q(expires_at=None, revoked_at=None) & _powerful(),
        ),
        "unused": ("not used in the last 90 days", unused & in_force),
    }


def _powerful() -> Q:
    texts = APIToken.objects.order_by().alias(text=Cast("scopes", TextField()))
    named = reduce(or_, (Q(text__contains=f'"{scope}"') for scope in POWERFUL))
    everything = Q(text__contains=f'"{INHERIT}"') & Q(
        user__in=User.objects.filter(admin=True).order_by().values("pk")
    )
    return Q(
        pk__in=texts.filter(named | everything, expires_at=None, revoked_at=None)
        .order_by()
        .values("pk")
    )
