"""The times at which others opened a person's servers, as the owner sees them.

A server is opened when the hub gives it an OAuth code for its visitor. The audit log
then gets the action `server.open`, for all visitors except the owner.
"""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.models import User
from audit.models import Event
from database.search import begins_with

OPEN = "server.open"


def opened_by_others(user: User) -> QuerySet[Event]:
    """Return the entries of others opening a user's servers, newest first.

    The audit log stores names only. Entries from before this account was created are
    about another user of the same name and are left out.
    """
    return Event.objects.filter(
        begins_with("target_name", f"{user.name}/"),
        action=OPEN,
        target_kind="server",
        at__gte=user.created,
    ).exclude(actor_kind="user", actor_name=user.name)


def opened_server(event: Event) -> str:
    """Return the name of the server of an entry; the default server's is ""."""
    return event.target_name.partition("/")[2]
