"""What web processes ask the controller, who alone knows processes and spawners.

Kinds of questions, their payloads and answers:

* `poll` `{"server_id"}`: does the process of a server live? `{"alive": bool}`. One
  that is found dead has been settled as stopped before this is answered.
* `options_form` `{"owner", "server_name"}`: the form of options that a server is
  started with; `{"form": html}`, empty if there is none.
* `options_from_form` `{"owner", "server_name", "fields", "files"}`: what somebody
  filled in; `{"options": {...}}`, or `{"error": text, "status": 400}`, with `html` if
  that was written for people, too.
* `forget` `{"server_id", "user_id", "owner", "server_name", "state"}`: a server whose
  row is gone leaves nothing behind; `{}`. Nobody waits for this one, but a server of
  the same name: it starts only afterwards.

A question is a row for as long as somebody waits for its answer: what people fill
in is nobody else's business, so it stays no longer.
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
# Seconds for which a question waits to be written.
LOCK_PATIENCE = 0.5
# Nobody waits for an answer for so long.
KEPT = timedelta(minutes=5)


class NoAnswer(Exception):
    """No controller has answered in time; perhaps none is running."""


def ask(kind: str, seconds: float | None = None, **payload: Any) -> Any:
    """Ask and wait in this thread; raises `NoAnswer` after so many seconds."""
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
    """Ask and wait on the event loop; raises `NoAnswer` after so many seconds."""
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    async with Changes() as changes:
        inquiry = await asyncio.to_thread(_put_soon, kind, payload)
        try:
            while (left := deadline - time.monotonic()) > 0:
                await changes.next(min(left, 1.0))
                if await asyncio.to_thread(answered, inquiry):
                    return inquiry.answer
        finally:
            # Also when whoever asked has left, who can't await anything more.
            forgetting = asyncio.ensure_future(asyncio.to_thread(withdraw, inquiry))
            WITHDRAWALS.add(forgetting)
            forgetting.add_done_callback(WITHDRAWALS.discard)
    raise NoAnswer(kind)


# The loop keeps no strong references to its tasks.
WITHDRAWALS: set[asyncio.Future[None]] = set()


def _put_soon(kind: str, payload: dict[str, Any]) -> Inquiry:
    """Ask, unless the database is too busy for that.

    Pages ask by the way, and can say something without an answer.
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
    """Look whether there is an answer, and take it over."""
    row = Inquiry.objects.filter(pk=inquiry.pk).values("answer", "answered_at").first()
    if row is None or row["answered_at"] is None:
        return False
    inquiry.answer, inquiry.answered_at = row["answer"], row["answered_at"]
    return True


def abandoned(now: datetime) -> QuerySet[Inquiry]:
    """Return the questions that nobody waits for, since who asked has died.

    What is to be forgotten must be, however long no controller was there.
    """
    old = Inquiry.objects.filter(asked_at__lt=now - KEPT)
    return old.exclude(kind="forget", answered_at=None)


def withdraw(inquiry: Inquiry) -> None:
    Inquiry.objects.filter(pk=inquiry.pk).delete()
