"""Calls of web processes to the controller, which has the processes and spawners.

Kinds of calls, their payloads and results:

* `poll` `{"server_id"}`: whether the process of a server is alive; `{"alive": bool}`. A
  dead server is settled as stopped before this returns.
* `options_form` `{"owner", "server_name"}`: the form of a server's start options;
  `{"form": html}`, empty if there is none.
* `options_from_form` `{"owner", "server_name", "fields", "files"}`: the options of a
  filled-in form; `{"options": {...}}`, or `{"error": text, "status": 400}`, with `html`
  if there is a version for pages, too.
* `forget` `{"server_id", "user_id", "owner", "server_name", "state"}`: delete all
  resources of a server whose row is deleted; `{}`. No process waits for the result, but
  a new server of the same name starts only afterwards.

A call is a row only while a process waits for its result, because forms may contain
private data.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import QuerySet

from database.failures import is_unavailable
from database.locks import brief_transaction
from database.notifications import Changes, announce
from servers.models import Inquiry

PATIENCE = 5.0
INTERVAL = 0.05
# Seconds of waiting for the database when a call is stored.
LOCK_PATIENCE = 0.5
# Longer than any process waits for a result.
KEPT = timedelta(minutes=5)


class NoAnswer(Exception):
    """No controller returned a result in time; perhaps none is running."""


def ask(kind: str, seconds: float | None = None, **payload: Any) -> Any:
    """Call and wait in this thread; raises `NoAnswer` after so many seconds."""
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    inquiry = _put_soon(kind, payload)
    try:
        while time.monotonic() < deadline:
            time.sleep(INTERVAL)
            if answered(inquiry):
                return inquiry.answer
    finally:
        withdraw(inquiry)
    raise NoAnswer(kind)


async def ask_async(kind: str, seconds: float | None = None, **payload: Any) -> Any:
    """Call and wait on the event loop; raises `NoAnswer` after so many seconds."""
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    async with Changes() as changes:
        inquiry = await asyncio.to_thread(_put_soon, kind, payload)
        try:
            while (left := deadline - time.monotonic()) > 0:
                await changes.next(min(left, 1.0))
                if await asyncio.to_thread(answered, inquiry):
                    return inquiry.answer
        finally:
            # In a task of its own, because a cancelled caller can't await anything
            # more.
            forgetting = asyncio.ensure_future(asyncio.to_thread(withdraw, inquiry))
            WITHDRAWALS.add(forgetting)
            forgetting.add_done_callback(WITHDRAWALS.discard)
    raise NoAnswer(kind)


# The loop keeps no strong references to its tasks.
WITHDRAWALS: set[asyncio.Future[None]] = set()


def _put_soon(kind: str, payload: dict[str, Any]) -> Inquiry:
    """Store a call, unless the database is too busy.

    Pages make calls for additional facts and can be shown without them.
    """
    try:
        with brief_transaction(LOCK_PATIENCE):
            return put(kind, payload)
    except DatabaseError as error:
        if is_unavailable(error):
            raise NoAnswer(kind) from error
        raise


@transaction.atomic
def put(kind: str, payload: dict[str, Any]) -> Inquiry:
    inquiry = Inquiry.objects.create(kind=kind, payload=payload)
    announce()
    return inquiry


def answered(inquiry: Inquiry) -> bool:
    """Return whether there is a result, and read it."""
    row = Inquiry.objects.filter(pk=inquiry.pk).values("answer", "answered_at").first()
    if row is None or row["answered_at"] is None:
        return False
    inquiry.answer, inquiry.answered_at = row["answer"], row["answered_at"]
    return True


def abandoned(now: datetime) -> QuerySet[Inquiry]:
    """Return the calls that no process waits for, because the caller has ended.

    Calls of the kind `forget` are kept until they are handled, however long there was
    no controller.
    """
    old = Inquiry.objects.filter(asked_at__lt=now - KEPT)
    return old.exclude(kind="forget", answered_at=None)


def withdraw(inquiry: Inquiry) -> None:
    Inquiry.objects.filter(pk=inquiry.pk).delete()
