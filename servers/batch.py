"""Reports of a batch system's job about the server that it runs."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from database.notifications import announce
from scopes.refusals import Forbidden, Invalid
from servers.models import Server


def starting_server(token_id: int) -> Server:
    """Return the starting server that has this token."""
    server = Server.objects.filter(
        token_id=token_id, wanted=Server.Wanted.RUNNING, ready=False
    ).first()
    if server is None:
        raise Forbidden("This token is not that of a server which is being started.")
    return server


@transaction.atomic
def note_port(server: Server, port: Any) -> None:
    """Store the port at which a starting server will listen.

    The controller reads the port while the spawner waits for it. The report of a late
    job, whose server is starting again or no longer wanted, changes nothing.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise Invalid("A port is a whole number from 1 to 65535.")
    Server.objects.filter(
        pk=server.pk, token_id=server.token_id, generation=server.generation
    ).update(announced_port=port)
    announce()
