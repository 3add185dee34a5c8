"""The last activity of tokens and users.

Uses are collected in memory and written outside of requests, by one conditional UPDATE
each. A row is written at most once per `activity_resolution`, and a token's at most
once in a minute, however many processes note its use, because the condition is in the
UPDATE. Reported times of use are written
in the same way, but exactly. The rounds also write where and for what tokens were used,
see `tokens/usage.py`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from accounts.models import User
from database.locks import brief_transaction, lock_free
from tokens.models import APIToken
from tokens.usage import collector, write

logger = logging.getLogger(__name__)

# With more rows than this the memory is cleared at the next flush; at worst, rows in
# use are written once more.
MEMORY = 50_000

# Seconds that the background thread waits for other writers.
PATIENCE = 20.0


# Seconds that a reader waits for a round of the background thread. The round skips rows
# that others have locked, so usually a few milliseconds are enough; a busy machine
# takes longer, and clients expect to see what they have just done.
ROUND_PATIENCE = 0.25


class Use(NamedTuple):
    """A use of a row that is not written yet; a reported time is written exactly."""

    pk: int
    moment: datetime
    was_reported: bool


class Recorder:
    """The last uses of the rows of one table in this process."""

    def __init__(
        self, model: type[User] | type[APIToken], *, least: float = 0.0
    ) -> None:
        self.model = model
        self.least = least
        self.lock = threading.Lock()
        self.noted: dict[int, float] = {}
        self.pending: dict[int, datetime] = {}
        self.reported: dict[int, datetime] = {}
        # Uses that could not be written the last time; readers do not wait for them.
        self.left: list[Use] = []

    @property
    def resolution(self) -> float:
        """Seconds between two writes of a row; without any, each use is written."""
        chosen: float = settings.HUB.activity_resolution
        return max(chosen, self.least) if chosen else 0.0

    def note(self, pk: int, now: float) -> None:
        """Store that a row was used, unless it was just before."""
        last = self.noted.get(pk)
        if last is None or now - last >= self.resolution:
            with self.lock:
                self.noted[pk] = now
                self.pending[pk] = datetime.fromtimestamp(now, UTC)

    def report(self, pk: int, moment: datetime) -> None:
        """Store a reported time of last use, which only moves forward."""
        seconds = moment.timestamp()
        with self.lock:
            self.noted[pk] = max(seconds, self.noted.get(pk, seconds))
            self.reported[pk] = max(moment, self.reported.get(pk, moment))

    @property
    def has_news(self) -> bool:
        return bool(self.pending or self.reported)

    @property
    def is_waiting(self) -> bool:
        return bool(self.left) or self.has_news

    def take(self) -> list[Use]:
        """Return the uses that are not written yet, and remove them."""
        with self.lock:
            left, self.left = self.left, []
            pending, self.pending = self.pending, {}
            reported, self.reported = self.reported, {}
            if len(self.noted) > MEMORY:
                self.noted = {}
        uses = [Use(pk, moment, False) for pk, moment in pending.items()]
        uses += [Use(pk, moment, True) for pk, moment in reported.items()]
        return _latest([*left, *uses])

    def give_back(self, uses: Iterable[Use]) -> None:
        """Store uses again that could not be written, for the next attempt."""
        with self.lock:
            self.left = _latest([*self.left, *uses])

    def write(self, uses: Iterable[Use]) -> None:
        """Write uses, except to rows that were written a moment ago.

        Rows that others have locked are left for the next time. So the function never
        waits, whatever others have locked.
        """
        uses = list(uses)
        ids = list({use.pk for use in uses})
        free = lock_free(self.model._meta.db_table, ids)
        if len(free) < len(ids):
            locked = self.model._default_manager.filter(
                pk__in=[pk for pk in ids if pk not in free]
            )
            there = set(locked.values_list("pk", flat=True))
            self.give_back(use for use in uses if use.pk in there)
            uses = [use for use in uses if use.pk in free]
        table = connection.ops.quote_name(self.model._meta.db_table)
        adapt = connection.ops.adapt_datetimefield_value
        resolution = timedelta(seconds=self.resolution)
        rows = []
        for pk, moment, was_reported in uses:
            before = moment if was_reported else moment - resolution
            rows.append((adapt(moment), pk, adapt(before)))
        if not rows:
            return
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET last_activity = %s WHERE id = %s"  # noqa: S608
                " AND (last_activity IS NULL OR last_activity <= %s)",
                rows,
            )


def _latest(uses: Iterable[Use]) -> list[Use]:
    """Return the latest use of each row, and the latest reported one."""
    found: dict[tuple[int, bool], datetime] = {}
    for pk, moment, was_reported in uses:
        key = (pk, was_reported)
        found[key] = max(moment, found.get(key, moment))
    return sorted(
        Use(pk, moment, was_reported) for (pk, was_reported), moment in found.items()
    )


# What else is known about the use of a token is written once in a minute as well.
tokens = Recorder(APIToken, least=60.0)
users = Recorder(User)

_flushing = threading.Lock()
_started = threading.Event()
_stopped = threading.Event()


class Rounds:
    """The rounds of the background thread, which others can request and wait for."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.begun = 0
        self.done = 0
        self.is_asked = False

    def await_next(self, interval: float) -> None:
        """Wait until a round is requested, or the interval is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_asked or _stopped.is_set(), interval)
            self.is_asked = False
            self.begun += 1

    def end(self) -> None:
        with self.changed:
            self.done = self.begun
            self.changed.notify_all()

    def ask(self, patience: float) -> None:
        """Request a round now, and wait for its end, but at most `patience` seconds."""
        with self.changed:
            wanted = self.begun + 1
            self.is_asked = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.done >= wanted, patience)


_rounds = Rounds()


def flush(patience: float = 0.005, *, usage: bool = False) -> None:
    """Have all noted uses written, if that takes a moment only.

    Code that shows times of use calls this first. A value that is a second old is
    better than a longer wait for another writer. `patience` (seconds) is for a process
    without the background thread; with the thread, the thread writes. Without noted
    uses the function returns at once. Code that shows more of the use of tokens than
    its time waits for that, too, with `usage`.
    """
    if _started.is_set():
        has_news = tokens.has_news or users.has_news
        if has_news or (usage and collector.has_news):
            _rounds.ask(ROUND_PATIENCE)
        return
    _flush(patience)


def _flush(patience: float, *, is_last: bool = False) -> None:
    """Write all noted uses, or wait for the thread that is writing them."""
    is_waiting = tokens.is_waiting or users.is_waiting or collector.is_waiting
    if not is_waiting and not _flushing.locked():
        return
    if not _flushing.acquire(timeout=patience):
        return
    try:
        _flush_activity(patience)
        _flush_usage(patience, is_last=is_last)
    finally:
        _flushing.release()


def _flush_activity(patience: float) -> None:
    taken = [
        (recorder, uses) for recorder in (tokens, users) if (uses := recorder.take())
    ]
    if not taken:
        return
    try:
        with brief_transaction(patience):
            for recorder, uses in taken:
                recorder.write(uses)
    except (DatabaseError, InterfaceError):
        for recorder, uses in taken:
            recorder.give_back(uses)
        logger.debug("Could not write activity, trying again", exc_info=True)


def _flush_usage(patience: float, *, is_last: bool) -> None:
    """Write the uses that are due, in a transaction of their own."""
    now = time.time()
    taken = collector.take(now, all_of_them=is_last)
    if not taken:
        return
    try:
        with brief_transaction(patience):
            written = write(taken, now, all_of_them=is_last)
    except (DatabaseError, InterfaceError):
        collector.give_back(taken)
        logger.debug("Could not write uses of tokens, trying again", exc_info=True)
    else:
        collector.settle(written)


def start(interval: float = 1.0) -> None:
    """Flush in the background from now on; a second call changes nothing.

    Called by each process that answers requests, once it runs, because a thread that
    was started before a fork does not exist after it.
    """
    if _started.is_set():
        return
    _started.set()
    _stopped.clear()
    threading.Thread(
        target=_run, args=(interval,), name="activity", daemon=True
    ).start()


def stop() -> None:
    """End the background thread and write the remaining uses."""
    _stopped.set()
    _started.clear()
    with _rounds.changed:
        _rounds.changed.notify_all()
    _flush(PATIENCE, is_last=True)


def forget() -> None:
    """Drop the uses that are not written."""
    for recorder in (tokens, users):
        recorder.noted, recorder.pending, recorder.reported = {}, {}, {}
        recorder.left = []
    collector.forget()


def _run(interval: float) -> None:
    while not _stopped.is_set():
        _rounds.await_next(interval)
        _flush(PATIENCE)
        _rounds.end()
    connection.close()
