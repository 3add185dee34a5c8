"""Verification of the hash chain, of the database or of an export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

from django.db.models import Count, Max, Min

from audit.chain import (
    Statement,
    content_of,
    event_columns,
    link,
    moment,
    time_column,
    time_of,
    values_of,
)
from audit.models import Checkpoint, Seal
from audit.sealing import unsealed
from database.statements import all_rows

# Findings that are described; all are counted.
MOST: Final = 20
# Rows that are read at once.
CHUNK: Final = 1_000
# An event is sealed within seconds. One that says to be so much older than the
# checkpoint before it was added later than it says, or the clock was changed.
LATE: Final = timedelta(hours=1)
# A purge may delete rows while these are read, and then they are read again.
TRIES: Final = 3


class Row(NamedTuple):
    """A seal, with the time and the content of its event as they are now."""

    sequence: int
    event_id: int
    at: str
    content: bytes
    digest: bytes
    # Empty if the event is gone, or was not read.
    event_at: str = ""
    event_content: bytes = b""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The events without a seal."""

    number: int = 0
    oldest: str = ""


class Source(Protocol):
    """A stored chain; each method may be called again."""

    def checkpoints(self) -> Sequence[Statement]:
        """Return all checkpoints, in the order of their creation."""

    def rows(self, after: int, up_to: int, *, events: bool = True) -> Iterator[Row]:
        """Yield the seals between two sequence numbers in the order of the chain."""

    def waiting(self) -> Waiting: ...

    def last_sequence(self) -> int:
        """Return the highest sequence number of a seal, or 0."""


class Finding(NamedTuple):
    """A place where the chain is broken."""

    kind: str
    sequence: int
    words: str


@dataclass
class Report:
    """What was verified, and what was found."""

    events: int = 0
    first: int = 0
    last: int = 0
    first_at: str = ""
    last_at: str = ""
    purged: int = 0
    checkpoints: int = 0
    start: Statement | None = None
    head: Statement | None = None
    before: str = ""
    waiting: Waiting = field(default_factory=Waiting)
    late: int = 0
    first_late: int = 0
    kept: int = 0
    kept_too_old: int = 0
    number: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        return not self.number

    def find(self, kind: str, sequence: int, words: str) -> None:
        self.number += 1
        if len(self.findings) < MOST:
            self.findings.append(Finding(kind, sequence, words))


def verify(
    source: Source, trusted: Sequence[str], kept: Sequence[Statement] = ()
) -> Report:
    """Verify a chain whose checkpoints must be signed by one of the `trusted` keys.

    `kept` are checkpoints that were stored elsewhere; the chain must contain them.
    """
    return _Verification(source, trusted, kept).run()


class _Verification:
    def __init__(
        self, source: Source, trusted: Sequence[str], kept: Sequence[Statement]
    ) -> None:
        self.source = source
        self.trusted = trusted
        self.kept = kept
        self.report = Report()
        # Digests that the chain must have, by sequence number, with their origin.
        self.expected: dict[int, list[tuple[Statement, str]]] = {}
        self.old_ids = 0
        # The place of the last checkpoint with which the chain agreed.
        self.confirmed = 0
        self.searches = 0
        # The sequence numbers before and at the end of the verified part.
        self.bounds = (0, 0)

    def run(self) -> Report:
        report = self.report
        start = self._read_checkpoints()
        head = report.head
        if start is not None and head is not None:
            self.bounds = (start.sequence, head.sequence)
            self._read_kept(start, head)
            self._walk(start, head)
        elif last := self.source.last_sequence():
            report.find(
                "checkpoint",
                last,
                "events are sealed, but there is no checkpoint that is signed by a"
                " known key, so nothing can be verified",
            )
        elif self.kept:
            report.find(
                "missing",
                max(each.sequence for each in self.kept),
                "a checkpoint that was kept elsewhere says that events were sealed, but"
                " there is no chain",
            )
        report.waiting = self.source.waiting()
        return report

    # Checkpoints

    def _read_checkpoints(self) -> Statement | None:
        report = self.report
        found = list(self.source.checkpoints())
        good = [each.is_signed(self.trusted) for each in found]
        starts = [
            place
            for place, each in enumerate(found)
            if good[place] and each.kind in ("first", "purge")
        ]
        if not starts:
            for each in found:
                self._refuse(each)
            return None
        place = starts[-1]
        start = report.start = found[place]
        report.before = max(
            each.before for each, valid in zip(found, good, strict=True) if valid
        )
        self.old_ids = max(
            int(each.detail.get("up_to_id") or 0)
            for each, valid in zip(found, good, strict=True)
            if valid
        )
        report.head = start
        for number, each in enumerate(found):
            # Those from before the start say nothing any more.
            if each.sequence <= start.sequence and number <= place:
                continue
            if not good[number]:
                self._refuse(each)
                continue
            report.checkpoints += 1
            self._expect(each, "checkpoint")
            if each.sequence > report.head.sequence:
                report.head = each
        report.checkpoints += 1
        return start

    def _refuse(self, statement: Statement) -> None:
        reason = (
            "has a wrong signature"
            if statement.public_key in self.trusted
            else f"is signed by an unknown key ({statement.public_key[:16]}…)"
        )
        self.report.find(
            "checkpoint",
            statement.sequence,
            f"the checkpoint of {statement.at} {reason}",
        )

    def _expect(self, statement: Statement, origin: str) -> None:
        self.expected.setdefault(statement.sequence, []).append((statement, origin))

    def _read_kept(self, start: Statement, head: Statement) -> None:
        report = self.report
        for each in self.kept:
            if not each.is_signed(self.trusted):
                self._refuse(each)
            elif each.sequence < start.sequence:
                report.kept_too_old += 1
            elif each.sequence > head.sequence:
                report.find(
                    "missing",
                    head.sequence + 1,
                    f"a checkpoint of {each.at} that was kept elsewhere says that"
                    f" sequences up to {each.sequence} were sealed, but the chain ends"
                    f" at {head.sequence}",
                )
            elif each.kind != "purge":
                report.kept += 1
                self._expect(each, "kept")

    # Rows

    def _walk(self, start: Statement, head: Statement) -> None:
        report = self.report
        self.confirmed = start.sequence
        self._compare(start.sequence, start.digest)
        previous: bytes | None = start.digest
        due = start.sequence + 1
        checkpoint_at = ""
        for row in self.source.rows(start.sequence, head.sequence):
            if row.sequence < due:
                report.find(
                    "reordered",
                    row.sequence,
                    f"sequence {row.sequence} comes after sequence {due - 1}",
                )
                continue
            if row.sequence > due:
                self._miss(due, row.sequence - 1)
                previous = None
            self._check_event(row)
            if previous is not None:
                digest = link(previous, row.sequence, row.event_id, row.at, row.content)
                if digest != row.digest:
                    self._misplace(row, previous)
            self._note(row, checkpoint_at)
            if row.sequence in self.expected:
                self._compare(row.sequence, row.digest)
                checkpoint_at = self.expected[row.sequence][0][0].at
            previous = row.digest
            due = row.sequence + 1
        if due <= head.sequence:
            self._miss(due, head.sequence, at_end=True)
        self._check_end(head)

    def _check_end(self, head: Statement) -> None:
        """Look for seals beyond the last checkpoint, which no signature confirms."""
        last = self.source.last_sequence()
        if last <= head.sequence:
            return
        # A batch that was sealed meanwhile came with its checkpoint.
        ends = [
            each.sequence
            for each in self.source.checkpoints()
            if each.kind == "seal" and each.is_signed(self.trusted)
        ]
        end = max(ends, default=head.sequence)
        if last > end:
            self.report.find(
                "unsigned",
                end + 1,
                f"sequences {end + 1} to {last} are after the last signed checkpoint,"
                " and nothing confirms them",
            )

    def _note(self, row: Row, checkpoint_at: str) -> None:
        report = self.report
        report.first = report.first or row.sequence
        report.first_at = report.first_at or row.at
        report.last, report.last_at = row.sequence, row.at
        if checkpoint_at and row.event_id > self.old_ids:
            limit = datetime.fromisoformat(checkpoint_at) - LATE
            if row.at < moment(limit):
                report.late += 1
                report.first_late = report.first_late or row.sequence

    def _check_event(self, row: Row) -> None:
        report = self.report
        if not row.event_at:
            if row.at < report.before:
                report.purged += 1
            else:
                report.find(
                    "missing",
                    row.sequence,
                    f"the event {row.event_id} of {row.at} was deleted",
                )
            return
        report.events += 1
        if row.event_content == row.content and row.event_at == row.at:
            return
        other = self._search(lambda each: each.content == row.event_content)
        if other is None or other.event_id == row.event_id:
            words = (
                f"the event {row.event_id} of {row.at} was edited after it was sealed"
            )
            report.find("edited", row.sequence, words)
        else:
            report.find(
                "reordered",
                row.sequence,
                f"the event {row.event_id} has the content that was sealed as sequence"
                f" {other.sequence}",
            )

    def _misplace(self, row: Row, previous: bytes) -> None:
        """Describe a row that does not follow from the one before."""
        n = row.sequence

        def belongs_here(each: Row) -> bool:
            digest = link(previous, n, each.event_id, each.at, each.content)
            return each.sequence != n and digest in (each.digest, row.digest)

        other = self._search(belongs_here)
        if other is not None:
            self.report.find(
                "reordered",
                n,
                f"the event that was sealed here ({other.event_id} of {other.at}) is at"
                f" sequence {other.sequence} now",
            )
        else:
            self.report.find(
                "replaced",
                n,
                f"the hash of sequence {n} (event {row.event_id} of {row.at}) does not"
                f" follow from sequence {n - 1}: one of both was inserted or replaced",
            )

    def _miss(self, first: int, last: int, *, at_end: bool = False) -> None:
        number = last - first + 1
        which = f"sequence {first}" if number == 1 else f"sequences {first} to {last}"
        where = ", at the end of the chain" if at_end else ""
        are = "is" if number == 1 else "are"
        self.report.find(
            "missing", first, f"{which} {are} missing ({number:,} sealed rows{where})"
        )

    def _compare(self, sequence: int, digest: bytes) -> None:
        """Compare the chain with the checkpoints at this place."""
        for statement, origin in self.expected.get(sequence, ()):
            if statement.digest == digest:
                continue
            whose = "that was kept elsewhere " if origin == "kept" else ""
            self.report.find(
                "rewritten",
                self.confirmed + 1,
                f"the checkpoint of {statement.at} {whose}at sequence {sequence} has"
                f" another hash: sequences {self.confirmed + 1} to {sequence} were"
                " changed together with their hashes",
            )
        self.confirmed = sequence

    def _search(self, matches: Callable[[Row], bool]) -> Row | None:
        """Return a row of the chain; only the first findings are worth a search."""
        if self.searches >= 2:
            return None
        self.searches += 1
        rows = self.source.rows(*self.bounds, events=False)
        return next((row for row in rows if matches(row)), None)


# The database


class DatabaseSource:
    """The chain in the database; the hub may go on meanwhile."""

    def checkpoints(self) -> list[Statement]:
        return [Statement.of(row) for row in Checkpoint.objects.order_by("pk")]

    def rows(self, after: int, up_to: int, *, events: bool = True) -> Iterator[Row]:
        for row, values in sealed_rows(after, up_to):
            if events and values is not None:
                row = row._replace(event_at=values[0], event_content=content_of(values))
            yield row

    def waiting(self) -> Waiting:
        found = unsealed().aggregate(number=Count("pk"), oldest=Min("at"))
        oldest = found["oldest"]
        return Waiting(found["number"], moment(oldest) if oldest else "")

    def last_sequence(self) -> int:
        return Seal.objects.aggregate(last=Max("sequence"))["last"] or 0


def sealed_rows(after: int, up_to: int) -> Iterator[tuple[Row, tuple[Any, ...] | None]]:
    """Yield seals with the values of their events, with few of them in memory."""
    statement = (
        f"SELECT s.sequence, s.event_id, {time_column('s.at')}, s.content, s.digest,"  # noqa: S608
        f" e.id, {event_columns()} FROM audit_seal s"
        " LEFT JOIN audit_event e ON e.id = s.event_id"
        f" WHERE s.sequence > %s AND s.sequence <= %s ORDER BY s.sequence LIMIT {CHUNK}"
    )
    while True:
        found = all_rows(statement, (after, up_to))
        for sequence, event_id, at, content, digest, pk, *columns in found:
            row = Row(sequence, event_id, time_of(at), bytes(content), bytes(digest))
            yield row, None if pk is None else values_of(columns)
        if len(found) < CHUNK:
            return
        after = found[-1][0]


def verify_database(trusted: Sequence[str], kept: Iterable[Statement] = ()) -> Report:
    """Verify the chain of the database, again if events were purged meanwhile."""
    kept = list(kept)
    source = DatabaseSource()
    for _ in range(TRIES):
        report = verify(source, trusted, kept)
        if report.is_intact or not _is_purged_since(report, source, trusted):
            break
    return report


def _is_purged_since(report: Report, source: Source, trusted: Sequence[str]) -> bool:
    starts = [
        each
        for each in source.checkpoints()
        if each.kind in ("first", "purge") and each.is_signed(trusted)
    ]
    return bool(starts) and starts[-1] != report.start
