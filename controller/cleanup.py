"""Periodic cleanup: record activity that the proxy saw, and delete expired rows.

The proxy has the time at which each of its routes was last used. JupyterLab reports
its own use to the hub as well, but not every program that runs as a server does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.sign_up_actions import purge_sign_ups
from audit.models import Actor
from controller.proxy.client import ProxyError
from controller.proxy.routes import proxy
from database.batches import batches
from database.locks import delete_all, locked
from oauth.models import DeviceRequest, OAuthCode
from servers.models import ACTIVE, Server, ServerEvent, ShareCode
from tokens.actions.revocation import purge_expired
from tokens.leaks import purge_reports
from tokens.notices import purge_notices
from tokens.policy_actions import apply_policies
from tokens.usage import purge_usage

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

BY = Actor.system("housekeeping")
# Rows that one transaction changes or deletes, so that other writers wait briefly.
BATCH = 500
# Seconds between two such transactions.
PAUSE = 0.05
# Seconds between two deletions of expired rows.
TIDY_EVERY = 300.0
# How long the progress events of a start are kept.
EVENTS_KEPT = timedelta(days=30)
SESSION_STORED = timedelta(hours=1)

# The last use of a server: owner, name, and time.
Use = tuple[str, str, datetime]


async def run(term: Term) -> None:
    """Record activity and delete expired rows, each at its own interval."""
    await asyncio.gather(_note_activity(term), _tidy(term))


async def _note_activity(term: Term) -> None:
    # The times of the proxy are no finer than requests, so a short interval gains
    # nothing.
    while interval := settings.HUB.last_activity_interval:
        await asyncio.sleep(interval)
        await note_activity(term)


async def note_activity(term: Term) -> None:
    """Record the proxy's times of use of servers, if the proxy can be reached."""
    try:
        client = await term.ask(proxy)
        routes = await asyncio.to_thread(client.routes)
    except ProxyError as problem:
        logger.warning("The proxy's times of use can't be read: %s", problem)
        return
    uses = sorted(read_uses(routes.values()))
    for batch in batches(uses, BATCH):
        await term.write(raise_activity, batch)


async def _tidy(term: Term) -> None:
    while True:
        await asyncio.sleep(TIDY_EVERY)
        began = time.monotonic()
        removed: dict[str, int] = {}
        for kind in REMOVALS:
            removed[kind] = await remove(term, kind, timezone.now())
        if any(removed.values()):
            said = ", ".join(f"{n} {what}" for what, n in removed.items() if n)
            logger.info("Removed %s in %.2f s", said, time.monotonic() - began)
        changed = await follow_policies(term, timezone.now())
        if changed:
            logger.info("Changed %d tokens by the policies for tokens", changed)


async def follow_policies(term: Term, now: datetime) -> int:
    """Change existing tokens as their policies demand; return their number."""
    number = 0
    while changed := await term.write(apply_policies, now):
        number += changed
        await asyncio.sleep(PAUSE)
    return number


async def remove(term: Term, kind: str, now: datetime) -> int:
    """Delete the expired rows of one kind; return the number of rows."""
    number = 0
    while removed := await term.write(REMOVALS[kind], now):
        number += removed
        await asyncio.sleep(PAUSE)
    return number


# Activity


def read_uses(routes: Iterable[Mapping[str, Any]]) -> Iterator[Use]:
    """Yield the last use of each server from the proxy's routes."""
    for route in routes:
        owner, moment = route.get("user"), route.get("last_activity")
        if not owner or not isinstance(moment, str):
            continue
        try:
            used = datetime.fromisoformat(moment)
        except ValueError:
            continue
        if used.tzinfo is not None:
            yield owner, route.get("server_name") or "", used


@transaction.atomic
def raise_activity(uses: list[Use]) -> None:
    """Move the activity of servers and their owners forward, never back.

    The rows are locked in their order first.
    """
    owners: dict[str, datetime] = {}
    for owner, _, used in uses:
        owners[owner] = max(used, owners.get(owner, used))
    users = locked(User.objects.filter(name__in=owners))
    ids = dict(users.values_list("name", "pk"))
    servers = locked(Server.objects.filter(ACTIVE, user__in=ids.values()))
    of = {(row[1], row[2]): row[0] for row in servers.values_list("pk", "user", "name")}
    _raise(User, [(ids[owner], used) for owner, used in owners.items() if owner in ids])
    _raise(
        Server,
        [
            (of[key], used)
            for owner, name, used in uses
            if (key := (ids.get(owner), name)) in of
        ],
    )


def _raise(
    model: type[User] | type[Server], moments: list[tuple[int, datetime]]
) -> None:
    """Write times into rows whose own times are older, in one statement."""
    if not moments:
        return
    table = connection.ops.quote_name(model._meta.db_table)
    adapt = connection.ops.adapt_datetimefield_value
    rows = ", ".join(["(%s, %s)"] * len(moments))
    # SQLite and PostgreSQL both use these names for the columns of a VALUES list.
    statement = (
        f"UPDATE {table} SET last_activity = v.column2"  # noqa: S608
        f" FROM (VALUES {rows}) AS v WHERE {table}.id = v.column1"
        f" AND ({table}.last_activity IS NULL"
        f" OR {table}.last_activity < v.column2)"
    )
    values = [part for pk, used in moments for part in (pk, adapt(used))]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


# Expired rows


def _remove_codes(now: datetime) -> int:
    return _delete_some(OAuthCode.objects.expired(now))


def _remove_device_requests(now: datetime) -> int:
    return _delete_some(DeviceRequest.objects.outdated(now))


def _remove_invitations(now: datetime) -> int:
    return _delete_some(ShareCode.objects.filter(expires_at__lte=now))


def _remove_sessions(now: datetime) -> int:
    return _delete_some(Session.objects.filter(expire_date__lte=now))


def _remove_entries_of_sessions(now: datetime) -> int:
    """Remove the list entries of sessions that have ended."""
    # A session that has just begun may not be stored yet.
    return _delete_some(
        UserSession.objects.filter(created_at__lt=now - SESSION_STORED).exclude(
            session_key__in=Session.objects.filter(expire_date__gt=now).values(
                "session_key"
            )
        )
    )


def _remove_events(now: datetime) -> int:
    return _delete_some(
        ServerEvent.objects.filter(created__lt=now - EVENTS_KEPT).exclude(
            server__in=Server.objects.filter(ACTIVE).values("pk")
        )
    )


def _delete_some(rows: QuerySet[Any]) -> int:
    """Delete the first of these rows; return the number of rows."""
    first = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
    if first:
        delete_all(rows.model._default_manager.filter(pk__in=first))
    return len(first)


# Functions that delete expired rows. Each call is one transaction, deletes a batch and
# returns the number of rows.
REMOVALS: Final[dict[str, Callable[[datetime], int]]] = {
    "tokens": partial(purge_expired, by=BY, most=BATCH),
    "rows of usage": partial(purge_usage, most=BATCH),
    "notices of tokens": partial(purge_notices, most=BATCH),
    "reports of leaks": partial(purge_reports, most=BATCH),
    "sign-ups": partial(purge_sign_ups, most=BATCH),
    "codes": _remove_codes,
    "requests of devices": _remove_device_requests,
    "invitations": _remove_invitations,
    "entries of sessions": _remove_entries_of_sessions,
    "sessions": _remove_sessions,
    "events": _remove_events,
}
