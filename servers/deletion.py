"""Servers whose rows go: what is left of them elsewhere goes, too.

Only the controller knows what a spawner keeps between starts: volumes, containers, a
log. It is asked for in the transaction that deletes the row, and nobody waits for it.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from accounts.models import User
from audit.models import Actor
from database.locks import lock_all
from servers.controller_calls import put
from servers.credentials import lock_credentials, take_back
from servers.models import Server


@transaction.atomic
def release(server: Server, *, by: Actor) -> None:
    """End what a stopped server holds, and have its spawner forget it for ever."""
    if server.token_id is not None:
        take_back(server, by=by)
    if not server.generation:
        # It was never started, so there is nothing to forget.
        return
    put(
        "forget",
        {
            "server_id": server.pk,
            "user_id": server.user_id,
            "owner": server.user.name,
            "server_name": server.name,
            "state": server.state or {},
        },
    )


def release_servers_of(users: list[User], by: Actor) -> None:
    """Release all servers of users who are about to be deleted."""
    servers = Server.objects.filter(user__in=users)
    lock_all(servers, for_deletion=True)
    owned = list(servers.select_related("user"))
    lock_credentials(owned, Q(user__in=users))
    for server in owned:
        release(server, by=by)
