"""When tokens and users were last seen.

Uses are collected in memory and written outside of requests, by one conditional
UPDATE each. At most one write per `activity_resolution` reaches a row, however many
processes note its use: the condition is in the UPDATE. What others report of a row's
use takes the same way, and is written to the moment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from accounts.models import User
from database.locks import brief_transaction, lock_free
from tokens.models import APIToken

logger = logging.getLogger(__name__)

# More rows than this are forgotten at the next flush; whoever is still there is
# written once more at worst.
MEMORY = 50_000

# How long the background thread waits for other writers, in seconds.
PATIENCE = 20.0


# How long a reader waits for a round of the background thread, in seconds. The round
# passes over rows that others have locked, so usually a few milliseconds are enough; a
# busy machine takes longer, and clients expect to see what they have just done.
ROUND_PATIENCE = 0.25


class Use(NamedTuple):
    """A use of a row that waits to be written; one that was reported counts exactly."""

    pk: int
    moment: datetime
    was_reported: bool


class Recorder:
    """The last uses of the rows of one table that were noted in this process."""

    def __init__(self, model: type[User] | type[APIToken]) -> None:
        self.model = model
        self.lock = threading.Lock()
        self.noted: dict[int, float] = {}
        self.pending: dict[int, datetime] = {}
        self.reported: dict[int, datetime] = {}
        # What could not be written the last time; readers do not wait for that.
        self.left: list[Use] = []

    def note(self, pk: int, now: float) -> None:
        """Remember that a row was used, if that is news."""
        last = self.noted.get(pk)
        if last is None or now - last >= settings.HUB.activity_resolution:
            with self.lock:
                self.noted[pk] = now
                self.pending[pk] = datetime.fromtimestamp(now, UTC)

    def report(self, pk: int, moment: datetime) -> None:
        """Remember what somebody tells of a last use, which moves forward only."""
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
        """Hand over what waits to be written."""
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
        """Take back what could not be written, for the next attempt."""
        with self.lock:
            self.left = _latest([*self.left, *uses])

    def write(self, uses: Iterable[Use]) -> None:
        """Write uses, leaving rows alone that were written a moment ago.

        Rows that others have locked are left for the next time. So this never waits
        for anybody, whatever they have locked besides.
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
        resolution = timedelta(seconds=settings.HUB.activity_resolution)
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
    """Keep the latest use of each row; one that was reported is kept as well."""
    found: dict[tuple[int, bool], datetime] = {}
    for pk, moment, was_reported in uses:
        key = (pk, was_reported)
        found[key] = max(moment, found.get(key, moment))
    return sorted(
        Use(pk, moment, was_reported) for (pk, was_reported), moment in found.items()
    )


tokens = Recorder(APIToken)
users = Recorder(User)

_flushing = threading.Lock()
_started = threading.Event()
_stopped = threading.Event()


class Rounds:
    """The rounds of the background thread, for which others can ask and wait."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.begun = 0
        self.done = 0
        self.is_asked = False

    def await_next(self, interval: float) -> None:
        """Wait until somebody asks for a round, or it is time for one."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_asked or _stopped.is_set(), interval)
            self.is_asked = False
            self.begun += 1

    def end(self) -> None:
        with self.changed:
            self.done = self.begun
            self.changed.notify_all()

    def ask(self, patience: float) -> None:
        """Have a round begin now, and wait for its end, but not longer than that."""
        with self.changed:
            wanted = self.begun + 1
            self.is_asked = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.done >= wanted, patience)


_rounds = Rounds()


def flush(patience: float = 0.005) -> None:
    """Have what was noted so far written, if that takes a moment only.

    A reader calls this first. A value that is a second old is better than a longer
    wait for another writer. `patience` (seconds) is for a process without the
    background thread; where that thread runs, the thread writes and the reader does
    not. Nothing is written, and no time passes, where nothing was noted.
    """
    if _started.is_set():
        if tokens.has_news or users.has_news:
            _rounds.ask(ROUND_PATIENCE)
        return
    _flush(patience)


def _flush(patience: float) -> None:
    """Write what was noted so far, or wait for whoever is writing it."""
    is_waiting = tokens.is_waiting or users.is_waiting
    if not is_waiting and not _flushing.locked():
        return
    if not _flushing.acquire(timeout=patience):
        return
    try:
        taken = [(recorder, recorder.take()) for recorder in (tokens, users)]
        try:
            with brief_transaction(patience):
                for recorder, uses in taken:
                    if uses:
                        recorder.write(uses)
        except (DatabaseError, InterfaceError):
            for recorder, uses in taken:
                recorder.give_back(uses)
            logger.debug("Could not write activity, trying again", exc_info=True)
    finally:
        _flushing.release()


def start(interval: float = 1.0) -> None:
    """Flush in the background from now on; a second call changes nothing.

    Called by each process that answers requests, once it runs: a thread that was
    started before a fork would be missing after it.
    """
    if _started.is_set():
        return
    _started.set()
    _stopped.clear()
    threading.Thread(
        target=_run, args=(interval,), name="activity", daemon=True
    ).start()


def stop() -> None:
    """End the background thread and write what is left."""
    _stopped.set()
    _started.clear()
    with _rounds.changed:
        _rounds.changed.notify_all()
    _flush(PATIENCE)


def forget() -> None:
    """Drop what was noted and not written."""
    for recorder in (tokens, users):
        recorder.noted, recorder.pending, recorder.reported = {}, {}, {}
        recorder.left = []


def _run(interval: float) -> None:
    while not _stopped.is_set():
        _rounds.await_next(interval)
        _flush(PATIENCE)
        _rounds.end()
    connection.close()
