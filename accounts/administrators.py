"""Who administers the hub, so that somebody always does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import User
from database.locks import Advisory, wait_for
from scopes.refusals import Invalid

ROLE = "admin"


def administrators() -> QuerySet[User]:
    """Return who holds the role admin, themselves or by a group, and may sign in."""
    return User.objects.filter(
        Q(roles__name=ROLE) | Q(groups__roles__name=ROLE), is_active=True
    ).exclude(name__in=settings.HUB.blocked_users)


@contextmanager
def keep_administrator() -> Iterator[None]:
    """Undo what is done within if it takes away the last administrator.

    For what people do on pages, whatever it is: demote, deactivate or delete somebody,
    change who is in a group or delete one. Those who do so at once wait for each other.
    """
    with transaction.atomic():
        wait_for(Advisory.ADMINISTRATORS)
        had_one = administrators().exists()
        yield
        if had_one and not administrators().exists():
            raise Invalid(
                "This would take away the last administrator. Make somebody else an "
                "administrator first."
            )
