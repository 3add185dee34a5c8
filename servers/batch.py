"""What a job of a batch system tells of the server that it runs."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from database.notifications import announce
from scopes.refusals import Forbidden, Invalid
from servers.models import Server


def starting_server(token_id: int) -> Server:
    """Return the server that is being started with this token."""
    server = Server.objects.filter(
        token_id=token_id, wanted=Server.Wanted.RUNNING, ready=False
    ).first()
    if server is None:
        raise Forbidden("This token is not that of a server which is being started.")
    return server


@transaction.atomic
def note_port(server: Server, port: Any) -> None:
    """Keep at which port a starting server says it will listen.

    The controller reads it while the spawner waits for it. A job that comes too late,
    when its server is started anew or no longer wanted, changes nothing.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise Invalid("A port is a whole number from 1 to 65535.")
    Server.objects.filter(
        pk=server.pk, token_id=server.token_id, generation=server.generation
    ).update(announced_port=port)
    announce()
