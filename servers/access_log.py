"""Who opened whose servers: what the record tells the owner of it.

A server is opened when the hub gives it a code by which it learns its visitor. The act
`server.open` is recorded then, of everybody but the owner.
"""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.models import User
from audit.models import Event
from database.search import begins_with

OPEN = "server.open"


def opened_by_others(user: User) -> QuerySet[Event]:
    """Return the acts by which others opened a user's servers, newest first.

    The record knows names only: what was done to somebody who had the same name
    before this account was made is not this user's business.
    """
    return Event.objects.filter(
        begins_with("target_name", f"{user.name}/"),
        action=OPEN,
        target_kind="server",
        at__gte=user.created,
    ).exclude(actor_kind="user", actor_name=user.name)


def opened_server(event: Event) -> str:
    """Return the name of the server that an act is about; the default one's is ""."""
    return event.target_name.partition("/")[2]
