"""Servers' reports of their last use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import connection, transaction

from database.locks import lock_all
from scopes.refusals import Invalid
from servers.models import Server

# Servers whose rows one transaction writes, so that other writers wait briefly.
BATCH = 200


def note_activity(
    user_id: int,
    user_name: str,
    last_activity: datetime | None,
    servers: Mapping[str, datetime],
) -> None:
    """Move the activity of a user and of servers forward, never back.

    Each server reports every few minutes without a person acting, so reports are not
    recorded. A report that names the default server creates its row. A report with a
    server that does not exist changes nothing, and is refused before anything is
    locked.
    """
    known = Server.objects.filter(user_id=user_id, name__in=servers)
    names = set(known.values_list("name", flat=True))
    for name in servers:
        if name and name not in names:
            raise Invalid(f"No such server '{name}' for user {user_name}")
    adapt = connection.ops.adapt_datetimefield_value
    if last_activity:
        moment = adapt(last_activity)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE accounts_user SET last_activity = %s WHERE id = %s "
                "AND (last_activity IS NULL OR last_activity < %s)",
                [moment, user_id, moment],
            )
    if "" in servers and "" not in names:
        Server.objects.get_or_create(user_id=user_id, name="")
    rows = [
        (moment, user_id, name, moment)
        for name, moment in (
            (name, adapt(moment)) for name, moment in sorted(servers.items())
        )
    ]
    for start in range(0, len(rows), BATCH):
        with transaction.atomic(), connection.cursor() as cursor:
            batch = [name for _, _, name, _ in rows[start : start + BATCH]]
            lock_all(Server.objects.filter(user_id=user_id, name__in=batch))
            cursor.executemany(
                "UPDATE servers_server SET last_activity = %s WHERE user_id = %s "
                "AND name = %s AND (last_activity IS NULL OR last_activity < %s)",
                rows[start : start + BATCH],
            )
