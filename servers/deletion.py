"""Deletion of servers' rows and of all that belongs to them.

Only the controller can delete a spawner's resources: volumes, containers, a log. The
call is stored in the transaction that deletes the row, without waiting for its result.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from accounts.models import User
from audit.models import Actor
from database.locks import lock_all
from servers.controller_calls import put
from servers.credentials import lock_credentials, revoke_credentials
from servers.models import Server


@transaction.atomic
def release(server: Server, *, by: Actor) -> None:
    """Revoke a stopped server's credentials and delete its resources."""
    if server.token_id is not None:
        revoke_credentials(server, by=by)
    if not server.generation:
        # A server that was never started has no resources.
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
