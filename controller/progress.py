"""Store a spawner's progress events during a start, for all who follow the start."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from controller.leadership import Lost
from controller.records import Records, Row

if TYPE_CHECKING:
    from controller.spawners.hosted_spawner import HostedSpawner
    from controller.term import Term

log = structlog.get_logger("hub.controller")

# Seconds for which events are gathered, because each write wakes all who follow a
# start.
GATHER = 0.1
# Limits for one start, so that a spawner in an endless loop can't fill the disk.
LIMIT = 500
# Stored by the action that requested the start.
FIRST = "Server requested"


class Progress:
    """Reads the progress of one start until told to end."""

    def __init__(
        self,
        records: Records,
        term: Term,
        row: Row,
        spawner: HostedSpawner,
    ) -> None:
        self.records, self.term = records, term
        self.row, self.spawner = row, spawner
        self.events: list[dict[str, Any]] = []
        self.come = asyncio.Event()
        self.tasks = [
            asyncio.create_task(self._listen(), name="progress"),
            asyncio.create_task(self._store(), name="progress-store"),
        ]

    async def end(self) -> list[dict[str, Any]]:
        """Stop reading; return the events that are not stored yet."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        return self.events

    async def _listen(self) -> None:
        last = None
        try:
            number = 0
            async for event in self.spawner.progress():
                if event == last or event.get("message") == FIRST:
                    continue
                last = event
                self.events.append(event)
                self.come.set()
                number += 1
                if number == LIMIT:
                    break
        except Exception:
            log.exception("Progress can't be told", server=self.row.context.label)

    async def _store(self) -> None:
        with suppress(Lost):
            while True:
                await self.come.wait()
                await asyncio.sleep(GATHER)
                self.come.clear()
                events, self.events = self.events, []
                await self.term.ask(self.records.store_events, self.row, events)
