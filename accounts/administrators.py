"""Protection of the last administrator."""

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
    """Return the active users with the role admin, directly or by a group."""
    return User.objects.filter(
        Q(roles__name=ROLE) | Q(groups__roles__name=ROLE), is_active=True
    ).exclude(name__in=settings.HUB.blocked_users)


@contextmanager
def keep_administrator() -> Iterator[None]:
    """Undo the changes of a block if they remove the last administrator.

    For all changes on pages: demoting, deactivating or deleting a user, changing the
    members of a group or deleting one. Such changes wait for each other.
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
