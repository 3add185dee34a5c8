"""Seals the events of the audit log in batches; no request waits for that.

Events are found by their ids. On PostgreSQL a transaction may commit after others with
higher ids, so each round looks again at the ids of the last minute, and one round an
hour looks at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from django.db.models import Max

from audit.chain import Statement
from audit.models import Event
from audit.sealing import ChainChanged, Sealed, seal_events, unsealed

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

# Seconds between two looks for new events.
EVERY = 5.0
# Seconds between two batches, for other writers.
PAUSE = 0.05
# Seconds after which no transaction is expected to commit an event any more.
SETTLED = 60.0
# Seconds between two rounds that look at all events.
SWEEP = 3600.0
# Digits of a hash in the log, where all 64 would be taken for a secret and removed.
SHOWN = 32
# Seconds between two reports that the chain was changed.
REPORT = 600.0


class Window:
    """The id above which a round looks for events; 0 is a look at all."""

    def __init__(self, now: float) -> None:
        self.settled = 0
        self.swept = now
        self._rounds: deque[tuple[float, int]] = deque()

    def note(self, highest: int, now: float) -> None:
        """Store that a round has sealed the events up to this id that it saw."""
        self._rounds.append((now, highest))

    def floor(self, now: float) -> int:
        """Return the id for the next round."""
        while self._rounds and now - self._rounds[0][0] >= SETTLED:
            self.settled = max(self.settled, self._rounds.popleft()[1])
        if now - self.swept >= SWEEP:
            self.swept = now
            return 0
        return self.settled


class Sealer:
    """The sealing of one term of leadership."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.window = Window(time.monotonic())
        self.head: Statement | None = None
        self.reported = -REPORT

    async def seal_new(self) -> int:
        """Seal all events that have no seal; return their number."""
        now = time.monotonic()
        floor = self.window.floor(now)
        highest = await self.term.ask(last_id)
        number = 0
        while await self.term.ask(has_unsealed, floor):
            try:
                sealed = await self.term.write(seal_events, floor)
            except ChainChanged as problem:
                self._report(problem)
                return number
            self._compare(sealed)
            number += sealed.number
            floor = max(floor, sealed.last_id)
            await asyncio.sleep(PAUSE)
        self.window.note(highest, now)
        return number

    def _compare(self, sealed: Sealed) -> None:
        """Report a chain that somebody has cut back since the last batch.

        A chain that was cut back to an earlier checkpoint looks intact, except to the
        controller and beside checkpoints that are kept elsewhere.
        """
        head, before = sealed.head, self.head
        if before is not None and head.sequence - sealed.number != before.sequence:
            logger.error(
                "The chain of the audit log was changed by another program: its last"
                " checkpoint was at sequence %s with the hash %s…, and then at %s",
                *(before.sequence, before.digest.hex()[:SHOWN]),
                head.sequence - sealed.number,
            )
        elif before is None or head.kind == "first":
            logger.info(
                "The audit log is sealed up to sequence %s with the hash %s…",
                *(head.sequence, head.digest.hex()[:SHOWN]),
            )
        self.head = head

    def _report(self, problem: ChainChanged) -> None:
        now = time.monotonic()
        if now - self.reported >= REPORT:
            self.reported = now
            logger.error("The audit log is not sealed: %s", problem)


def last_id() -> int:
    """Return the highest id of an event, or 0."""
    return Event.objects.aggregate(last=Max("pk"))["last"] or 0


def has_unsealed(floor: int) -> bool:
    """Return whether there are events without a seal."""
    return unsealed(floor).exists()


async def run(term: Term) -> None:
    """Seal new events every few seconds."""
    sealer = Sealer(term)
    while True:
        await sealer.seal_new()
        await asyncio.sleep(EVERY)
