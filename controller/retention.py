"""Retention of events in the audit log, and entries of the cache's table.

Rows are deleted in batches, each in a transaction of its own, so that other writers
of SQLite do not wait long.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection
from django.utils import timezone

from audit.actions import BATCH, announce_purge, delete_events, record_purge
from audit.models import Actor, Event
from audit.sealing import delete_seals, shorten_chain

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

BY = Actor.system("retention")
EVERY = 3600.0
# Each purge is recorded in the audit log itself, so there is one a day at most.
SLACK = timedelta(days=1)
# Seconds between two batches, for other writers.
PAUSE = 0.05


async def run(term: Term) -> None:
    """Delete old rows every hour."""
    while True:
        await tidy(term, timezone.now())
        await asyncio.sleep(EVERY)


async def tidy(term: Term, now: datetime) -> None:
    """Delete what is too old."""
    while await term.write(delete_expired_entries, now):
        await asyncio.sleep(PAUSE)
    days = settings.HUB.audit_retention_days
    if not days:
        return
    before = now - timedelta(days=days)
    if not await term.ask(has_events, before - SLACK):
        return
    await term.write(announce_purge, before, by=BY)
    deleted = 0
    while batch := await term.write(delete_events, before):
        deleted += batch
        await asyncio.sleep(PAUSE)
    await term.write(shorten_chain)
    while await term.write(delete_seals):
        await asyncio.sleep(PAUSE)
    await term.write(record_purge, before, deleted, by=BY)
    logger.info("Deleted %s events that were older than %s days", deleted, days)


def has_events(before: datetime) -> bool:
    """Return whether there are events from before a time."""
    return Event.objects.filter(at__lt=before).exists()


def delete_expired_entries(now: datetime) -> int:
    """Delete some expired rows of the cache's table; return the number.

    There is no such table if the cache is elsewhere.
    """
    cache = settings.CACHES["default"]
    if not cache["BACKEND"].endswith("DatabaseCache"):
        return 0
    table = connection.ops.quote_name(cache["LOCATION"])
    moment = connection.ops.adapt_datetimefield_value(now.replace(microsecond=0))
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE cache_key IN"  # noqa: S608
            f" (SELECT cache_key FROM {table} WHERE expires < %s LIMIT %s)",
            [moment, BATCH],
        )
        return int(cursor.rowcount)
