"""Uses of tokens as events of the audit log, written in batches beside the requests.

`c.Hub.audit_token_use` says which uses are recorded: none, all, or one in so many of
each token. A request only adds a tuple to a queue; a thread writes the events a moment
later. If the database can't be written for so long that the queue is full, further uses
are counted, and an event has their number.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Final, NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from audit.actions import record, without_secrets
from audit.models import Actor, Event
from database.locks import brief_transaction

logger = logging.getLogger(__name__)

BY: Final = Actor.system("token use")
# Uses that wait to be written; each takes a kilobyte at most.
QUEUE: Final = 20_000
# Events that one transaction writes.
BATCH: Final = 500
# Tokens whose uses are counted; with more of them counting begins anew.
MEMORY: Final = 50_000
# Seconds between two batches, and seconds that the thread waits for other writers.
INTERVAL: Final = 1.0
PATIENCE: Final = 20.0
# Most characters of an address and of the name of a program.
LONGEST: Final = 200


class Use(NamedTuple):
    """One request with a token."""

    at: float
    by: Actor
    method: str
    path: str
    status: int
    agent: str
    one_in: int


_queue: deque[Use] = deque()
_counts: dict[int, int] = {}
_lock = threading.Lock()
_writing = threading.Lock()
_lost = 0
_stopped = threading.Event()
_thread: threading.Thread | None = None


def are_recorded() -> bool:
    """Return whether any uses of tokens are recorded."""
    which = settings.HUB.audit_token_use
    return bool(which != "off")


def note(by: Actor, method: str, path: str, status: int, agent: str) -> None:
    """Have a use of the actor's token recorded, if it is one of those to record."""
    global _lost
    chosen = settings.HUB.audit_token_use
    if by.token_id is None or chosen == "off":
        return
    one_in = 1 if chosen == "complete" else int(chosen)
    if one_in > 1 and not _is_next(by.token_id, one_in):
        return
    if len(_queue) >= QUEUE:
        with _lock:
            _lost += 1
        return
    _queue.append(
        Use(time.time(), by, method, path[:LONGEST], status, agent[:LONGEST], one_in)
    )


def _is_next(token_id: int, one_in: int) -> bool:
    """Count a use, and tell whether it is recorded: the first, and then one in many."""
    with _lock:
        count = _counts.get(token_id, 0)
        if len(_counts) >= MEMORY and token_id not in _counts:
            _counts.clear()
        _counts[token_id] = (count + 1) % one_in
    return count == 0


def flush(patience: float = PATIENCE) -> int:
    """Write all uses that wait; return the number of events.

    Uses that can't be written now stay in the queue.
    """
    global _lost
    number = 0
    with _writing:
        while batch := [_queue.popleft() for _ in range(min(len(_queue), BATCH))]:
            try:
                with brief_transaction(patience):
                    Event.objects.bulk_create([_event(use) for use in batch])
            except (DatabaseError, InterfaceError):
                _queue.extendleft(reversed(batch))
                logger.warning("Can't write uses of tokens now", exc_info=True)
                return number
            number += len(batch)
        with _lock:
            lost, _lost = _lost, 0
        if lost:
            logger.warning("%s uses of tokens were not recorded", lost)
            record(BY, "token.use_lost", "token", "", number=lost)
    return number


def _event(use: Use) -> Event:
    detail: dict[str, object] = {
        **{"method": use.method, "path": use.path, "status": use.status},
        "agent": use.agent,
    }
    if use.one_in > 1:
        detail["one_in"] = use.one_in
    return Event(
        at=datetime.fromtimestamp(use.at, UTC),
        actor_kind=use.by.kind,
        actor_name=use.by.name,
        token_id=use.by.token_id,
        address=use.by.address,
        action="token.use",
        target_kind="token",
        target_name=f"a{use.by.token_id}",
        detail=without_secrets(detail),
    )


def start(interval: float = INTERVAL) -> None:
    """Write uses in the background from now on; a second call changes nothing.

    Called by each process that answers requests, once it runs. Without a setting no
    thread is needed.
    """
    global _thread
    if _thread is not None or not are_recorded():
        return
    _stopped.clear()
    _thread = threading.Thread(
        target=_run, args=(interval,), name="token uses", daemon=True
    )
    _thread.start()


def stop() -> None:
    """End the background thread and write the remaining uses."""
    global _thread
    thread, _thread = _thread, None
    _stopped.set()
    if thread is not None:
        thread.join(PATIENCE)
    if _queue or _lost:
        flush()


def forget() -> None:
    """Drop all uses that are not written."""
    global _lost
    _queue.clear()
    _counts.clear()
    _lost = 0


def _run(interval: float) -> None:
    while not _stopped.wait(interval):
        try:
            if _queue or _lost:
                flush()
        except Exception:
            logger.exception("Writing uses of tokens")
    connection.close()
