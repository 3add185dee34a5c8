"""Sealing of events in batches, and the chain's part in a purge.

Each function is one transaction under the lock `AUDIT_CHAIN`, so that the controller,
its successor and the command line never extend the chain from the same place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, QuerySet
from django.utils import timezone

from audit.chain import (
    BEGINNING,
    Statement,
    content_of,
    event_columns,
    link,
    moment,
    public_keys,
    sign,
    values_of,
)
from audit.models import Checkpoint, Event, Seal
from database.locks import Advisory, wait_for
from database.statements import all_rows

# Events that one transaction seals, so that other writers wait briefly.
BATCH: Final = 1_000
# The latest checkpoint is replaced until it is so far from the one before it. So the
# table stays small, and a changed chain is found within so many events.
CHECKPOINT_EVENTS: Final = 1_000
CHECKPOINT_TIME: Final = timedelta(hours=1)
# Pages and metrics look for unsealed events among those that are newer than the last so
# many sealed ones, because they can't read the whole table.
RECENT: Final = 10_000


class ChainChanged(Exception):
    """The end of the chain is not as this hub signed it, so nothing may be added."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The result of one batch."""

    number: int
    last_id: int
    head: Statement


def unsealed(floor: int = 0) -> QuerySet[Event]:
    """Return the events without a seal, with ids above `floor`."""
    seals = Seal.objects.filter(event=OuterRef("pk"))
    return Event.objects.filter(~Exists(seals), pk__gt=floor).order_by("pk")


def unsealed_values(floor: int, most: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield ids and hashed values of the first events without a seal."""
    statement = (
        f"SELECT e.id, {event_columns()} FROM audit_event e WHERE e.id > %s"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM audit_seal s WHERE s.event_id = e.id)"
        " ORDER BY e.id LIMIT %s"
    )
    for pk, *columns in all_rows(statement, (floor, most)):
        yield pk, values_of(columns)


@transaction.atomic
def seal_events(
    floor: int = 0, most: int = BATCH, *, now: datetime | None = None
) -> Sealed:
    """Seal the next events and sign a checkpoint.

    Raises `ChainChanged` if the latest checkpoint has no valid signature. A new one
    would otherwise confirm what somebody without the key has written.
    """
    now = now or timezone.now()
    wait_for(Advisory.AUDIT_CHAIN)
    head = Checkpoint.objects.ends().first() or _begin(now)
    if not Statement.of(head).is_signed(public_keys()):
        raise ChainChanged(
            f"The checkpoint at sequence {head.sequence} is not signed by this hub. See"
            " `manage.py audit verify`; `manage.py audit begin` begins a new chain."
        )
    sequence, digest = head.sequence, bytes(head.digest)
    seals = []
    last_id = floor
    for pk, values in unsealed_values(floor, most):
        sequence += 1
        content = content_of(values)
        digest = link(digest, sequence, pk, values[0], content)
        at = datetime.fromisoformat(values[0])
        seals.append(
            Seal(sequence=sequence, event_id=pk, at=at, content=content, digest=digest)
        )
        last_id = pk
    if seals:
        Seal.objects.bulk_create(seals)
        head = _advance(head, sequence, digest, now)
    return Sealed(len(seals), last_id, Statement.of(head))


def _begin(now: datetime) -> Checkpoint:
    """Begin the chain; events that exist already will be sealed as they are."""
    found = Event.objects.aggregate(existing=Count("pk"), up_to_id=Max("pk"))
    detail = {"existing": found["existing"], "up_to_id": found["up_to_id"] or 0}
    first = sign(Checkpoint.Kind.FIRST, 0, BEGINNING, now, detail)
    first.save()
    return first


def _advance(
    head: Checkpoint, sequence: int, digest: bytes, now: datetime
) -> Checkpoint:
    """Sign the new end of the chain, in the place of the latest checkpoint or anew."""
    latest = sign(Checkpoint.Kind.SEAL, sequence, digest, now, {})
    if head.kind == Checkpoint.Kind.SEAL:
        earlier = Checkpoint.objects.ends().exclude(pk=head.pk).first()
        sealed = Seal.objects.filter(pk=head.sequence).values_list("digest", flat=True)
        if (
            earlier is not None
            and sequence - earlier.sequence <= CHECKPOINT_EVENTS
            and now - earlier.at < CHECKPOINT_TIME
            # A checkpoint that its seal contradicts stays, as evidence.
            and [bytes(each) for each in sealed] == [bytes(head.digest)]
        ):
            latest.pk = head.pk
    latest.save()
    return latest


@transaction.atomic
def begin_anew(reason: str, *, now: datetime | None = None) -> Checkpoint:
    """Begin a new chain after the last seal, for a lost key or a changed chain.

    What was sealed before is not verified any more.
    """
    now = now or timezone.now()
    wait_for(Advisory.AUDIT_CHAIN)
    last = Seal.objects.order_by("-sequence").first()
    ends = Checkpoint.objects.aggregate(sequence=Max("sequence"))
    sequence = max(ends["sequence"] or 0, last.sequence if last else 0)
    waiting = unsealed().aggregate(existing=Count("pk"), up_to_id=Max("pk"))
    detail = {
        **{"existing": waiting["existing"], "up_to_id": waiting["up_to_id"] or 0},
        "reason": reason,
    }
    first = sign(Checkpoint.Kind.FIRST, sequence, BEGINNING, now, detail)
    first.save()
    return first


# Purges


@transaction.atomic
def allow_purge(before: datetime, *, now: datetime | None = None) -> None:
    """Sign that events from before a time may be gone."""
    wait_for(Advisory.AUDIT_CHAIN)
    start = _start()
    if start is None or Statement.of(start).before >= moment(before):
        return
    _move_start(start.sequence, bytes(start.digest), moment(before), now)


@transaction.atomic
def shorten_chain(*, now: datetime | None = None) -> None:
    """Move the start of the chain behind the events that a purge has deleted.

    The new start is a checkpoint that this hub has signed. A seal stays if its event is
    there, or is gone without a purge.
    """
    wait_for(Advisory.AUDIT_CHAIN)
    start = _start()
    before = Statement.of(start).before if start is not None else ""
    if start is None or not before:
        return
    seals = Seal.objects.filter(sequence__gt=start.sequence)
    there = Exists(Event.objects.filter(pk=OuterRef("event_id")))
    limits = [
        seals.filter(there).order_by("sequence"),
        seals.filter(at__gte=datetime.fromisoformat(before)).order_by("sequence"),
    ]
    ends = Checkpoint.objects.ends().filter(
        kind=Checkpoint.Kind.SEAL, sequence__gt=start.sequence
    )
    for limit in limits:
        first_left = limit.values_list("sequence", flat=True).first()
        if first_left is not None:
            ends = ends.filter(sequence__lt=first_left)
    end = ends.first()
    if end is not None and Statement.of(end).is_signed(public_keys()):
        _move_start(end.sequence, bytes(end.digest), before, now)
        Checkpoint.objects.filter(
            kind=Checkpoint.Kind.SEAL, sequence__lt=end.sequence
        ).delete()


def _start() -> Checkpoint | None:
    """Return the latest start of the chain that this hub has signed."""
    trusted = public_keys()
    for start in Checkpoint.objects.starts():
        if Statement.of(start).is_signed(trusted):
            return start
    return None


def _move_start(
    sequence: int, digest: bytes, before: str, now: datetime | None
) -> None:
    """Sign a new start of the chain, in the place of earlier ones of purges."""
    kind = Checkpoint.Kind.PURGE
    earlier = list(Checkpoint.objects.filter(kind=kind).values_list("pk", flat=True))
    sign(kind, sequence, digest, now or timezone.now(), {"before": before}).save()
    Checkpoint.objects.filter(pk__in=earlier).delete()


@transaction.atomic
def delete_seals(most: int = BATCH) -> int:
    """Delete some seals from before the start of the chain; return the number."""
    start = _start()
    if start is None:
        return 0
    there = Exists(Event.objects.filter(pk=OuterRef("event_id")))
    old = Seal.objects.filter(~there, sequence__lte=start.sequence)[:most]
    sequences = list(old.values_list("pk", flat=True))
    return Seal.objects.filter(pk__in=sequences).delete()[0] if sequences else 0


# Pages and metrics


@dataclass(frozen=True, slots=True)
class State:
    """The state of the chain for people and metrics."""

    checkpoint: Statement | None
    sealed: int
    unsealed: int
    oldest: datetime | None


def state() -> State:
    """Return the latest checkpoint, and the number of events that wait for a seal."""
    head = Checkpoint.objects.ends().first()
    sequence = head.sequence if head is not None else 0
    recent = Seal.objects.filter(sequence__gt=sequence - RECENT)
    # Fewer seals than `RECENT` are all there are, so every event is looked at.
    floor = (
        recent.order_by("sequence").values_list("event_id", flat=True).first()
        if sequence > RECENT
        else 0
    )
    waiting = unsealed(floor or 0).aggregate(number=Count("pk"), oldest=Min("at"))
    return State(
        checkpoint=None if head is None else Statement.of(head),
        sealed=sequence,
        unsealed=waiting["number"],
        oldest=waiting["oldest"],
    )
