"""The hub's own idle culler: stops idle servers and deletes idle users.

The culler decides as `jupyterhub-idle-culler` does, with options of the same meaning,
but selects the idle rows in the database instead of reading all users over the API.
There is one difference: administrators who are exempt from culling are kept whatever
their age.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.actions import delete_user, lock_users
from accounts.models import User
from audit.models import Actor
from database.batches import batches
from database.locks import lock_all
from scopes.refusals import Refusal
from servers.actions import stop_server, stop_servers
from servers.limits import lock_capacity
from servers.models import ACTIVE, Server

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

BY = Actor.system("culler")
# Seconds that a round waits for some servers to stop before the next ones are stopped.
PATIENCE = 10.0
GLANCE = 0.5
# Users deleted in one transaction, so that other writers wait briefly.
BATCH = 20


async def run(term: Term) -> None:
    """Cull at each interval; return if culling is not configured."""
    every = interval()
    while every:
        # Not at once, because activity during a time without controller is not recorded
        # yet.
        await asyncio.sleep(every)
        await cull(term)


def interval() -> float:
    """Return the seconds between two rounds; 0 if the hub culls nothing."""
    hub = settings.HUB
    limits = [limit for limit in (hub.cull_idle_timeout, hub.cull_max_age) if limit]
    if not limits:
        return 0
    return hub.cull_every or max(min(limits) / 2, 1)


async def cull(term: Term) -> None:
    """Stop the servers that are idle now, a few at a time, then delete idle users."""
    now = timezone.now()
    number = 0
    idle = await term.ask(idle_ids, now)
    for ids in batches(idle, settings.HUB.cull_concurrency or max(len(idle), 1)):
        stopping = await term.write(stop_idle, ids, now)
        number += len(stopping)
        await _settle(term, stopping)
    if number:
        logger.info("Stopped %d idle servers", number)
    if settings.HUB.cull_users:
        users = await term.ask(idle_user_ids, now)
        for start in range(0, len(users), BATCH):
            chosen = users[start : start + BATCH]
            deleted = await term.write(delete_idle, chosen, now)
            logger.info("Deleted %d idle users", deleted)


async def _settle(term: Term, ids: list[int]) -> None:
    """Wait until these servers have stopped, but not too long."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while ids and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(GLANCE)
        ids = await term.ask(_still_active, ids)


# Decisions


def idle_servers(now: datetime) -> QuerySet[Server]:
    """Return the running servers that are idle, or too old."""
    hub = settings.HUB
    condition = Q(pk__in=())
    if hub.cull_idle_timeout:
        idle = _before("started", now, hub.cull_idle_timeout)
        if not hub.cull_default_servers:
            idle &= ~Q(name="")
        if not hub.cull_named_servers:
            idle &= Q(name="")
        condition |= idle
    if hub.cull_max_age:
        condition |= Q(started__lte=now - timedelta(seconds=hub.cull_max_age))
    return Server.objects.filter(ACTIVE, condition, ready=True)


def idle_users(now: datetime) -> QuerySet[User]:
    """Return the users without a server who are idle, or whose account is too old."""
    hub = settings.HUB
    condition = Q(pk__in=())
    if hub.cull_idle_timeout:
        condition |= _before("created", now, hub.cull_idle_timeout)
    if hub.cull_max_age:
        condition |= Q(created__lte=now - timedelta(seconds=hub.cull_max_age))
    servers = Server.objects.filter(ACTIVE, user=OuterRef("pk")).order_by()
    users = User.objects.filter(~Exists(servers), condition)
    return users if hub.cull_admin_users else users.filter(admin=False)


def _before(otherwise: str, now: datetime, seconds: int) -> Q:
    """Match rows idle for so long; without any activity, `otherwise` counts."""
    since = now - timedelta(seconds=seconds)
    never = Q(last_activity=None, **{f"{otherwise}__lte": since})
    return Q(last_activity__lte=since) | never


# Actions


def idle_ids(now: datetime) -> list[int]:
    """Return the ids of the idle servers, the oldest first."""
    return list(
        idle_servers(now).order_by("started", "pk").values_list("pk", flat=True)
    )


def stop_idle(ids: list[int], now: datetime) -> list[int]:
    """Request the stop of those servers that are still idle; return their ids."""
    with transaction.atomic():
        # Locks all rows that the single stops lock, in the order of locking.
        lock_capacity()
        rows = Server.objects.filter(pk__in=ids)
        lock_all(User.objects.filter(pk__in=rows.values("user")))
        # A server that is stopped by now is deleted at once.
        lock_all(rows, for_deletion=settings.HUB.cull_remove_named_servers)
        idle = idle_servers(now).filter(pk__in=ids).select_related("user")
        chosen = list(idle.order_by("pk"))
        removed = [
            server
            for server in chosen
            if server.name and settings.HUB.cull_remove_named_servers
        ]
        for server in removed:
            stop_server(server.user, server.name, remove=True, by=BY)
        kept = {server.pk for server in chosen} - {server.pk for server in removed}
        if kept:
            stop_servers(idle.filter(pk__in=kept), by=BY)
    return [server.pk for server in chosen]


def idle_user_ids(now: datetime) -> list[int]:
    """Return the ids of the idle users."""
    return list(idle_users(now).order_by("pk").values_list("pk", flat=True))


def delete_idle(ids: list[int], now: datetime) -> int:
    """Delete those users who are still idle; return the number of users."""
    deleted = 0
    lock_users(User.objects.filter(pk__in=ids), BY)
    for user in idle_users(now).filter(pk__in=ids).order_by("pk"):
        try:
            delete_user(user, by=BY)
            deleted += 1
        except Refusal as refusal:
            logger.warning("Kept the idle user %s: %s", user.name, refusal.message)
    return deleted


def _still_active(ids: list[int]) -> list[int]:
    active = Server.objects.filter(ACTIVE, pk__in=ids)
    return list(active.values_list("pk", flat=True))
