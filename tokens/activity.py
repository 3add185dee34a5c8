"""When tokens and users were last seen.

Uses are collected in memory and written outside of requests, by one conditional
UPDATE each. At most one write per `activity_resolution` reaches a row, however many
processes note its use: the condition is in the UPDATE. What others report of a row's
use takes the same way, and is written to the moment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from tokens.models import APIToken

logger = logging.getLogger(__name__)

# More rows than this are forgotten at the next flush; whoever is still there is
# written once more at worst.
MEMORY = 50_000

# How long the background thread waits for other writers, in seconds.
PATIENCE = 20.0


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
    def is_waiting(self) -> bool:
        return bool(self.pending or self.reported)

    def take(self) -> list[Use]:
        """Hand over what waits to be written, in an order that can't deadlock."""
        with self.lock:
            pending, self.pending = self.pending, {}
            reported, self.reported = self.reported, {}
            if len(self.noted) > MEMORY:
                self.noted = {}
        uses = [Use(pk, moment, False) for pk, moment in pending.items()]
        uses += [Use(pk, moment, True) for pk, moment in reported.items()]
        return sorted(uses)

    def give_back(self, uses: Iterable[Use]) -> None:
        """Take back what could not be written, for the next attempt."""
        with self.lock:
            for pk, moment, was_reported in uses:
                known = self.reported if was_reported else self.pending
                known[pk] = max(moment, known.get(pk, moment))

    def write(self, uses: Iterable[Use]) -> None:
        """Write uses, leaving rows alone that were written a moment ago."""
        table = connection.ops.quote_name(self.model._meta.db_table)
        adapt = connection.ops.adapt_datetimefield_value
        resolution = timedelta(seconds=settings.HUB.activity_resolution)
        rows = []
        for pk, moment, was_reported in uses:
            before = moment if was_reported else moment - resolution
            rows.append((adapt(moment), pk, adapt(before)))
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET last_activity = %s WHERE id = %s"  # noqa: S608
                " AND (last_activity IS NULL OR last_activity <= %s)",
                rows,
            )


tokens = Recorder(APIToken)
users = Recorder(User)

_flushing = threading.Lock()
_started = threading.Event()
_stopped = threading.Event()


def flush(patience: float = 0.005) -> None:
    """Write what was noted so far, or wait for whoever is writing it.

    Costs nothing if there is nothing. Whoever is about to read calls this first, and
    had better read what is a second old than wait longer than `patience` seconds for
    a writer: a read may be answered on the event loop, where everybody waits.
    """
    is_waiting = tokens.is_waiting or users.is_waiting
    if not is_waiting and not _flushing.locked():
        return
    if not _flushing.acquire(timeout=patience):
        return
    try:
        taken = [(recorder, recorder.take()) for recorder in (tokens, users)]
        try:
            with _patience(patience), transaction.atomic():
                for recorder, uses in taken:
                    if uses:
                        recorder.write(uses)
        except DatabaseError:
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
    flush(PATIENCE)


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Wait for SQLite's one writer only so long; PostgreSQL locks single rows."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    usual = connection.settings_dict["OPTIONS"].get("timeout", 5)
    execute = connection.connection.execute
    execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
    try:
        yield
    finally:
        execute(f"PRAGMA busy_timeout = {usual * 1000:.0f}")


def forget() -> None:
    """Drop what was noted and not written."""
    for recorder in (tokens, users):
        recorder.noted, recorder.pending, recorder.reported = {}, {}, {}


def _run(interval: float) -> None:
    while not _stopped.wait(interval):
        # The database may have restarted since the last time.
        connection.close_if_unusable_or_obsolete()
        flush(PATIENCE)
    connection.close()
