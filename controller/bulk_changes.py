"""Acts of operators on many tokens: do the steps that their requests left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tokens import bulk

if TYPE_CHECKING:
    from controller.term import Term

# Seconds between two looks, and between two steps of an act.
INTERVAL = 2.0
REST = 0.05


async def run(term: Term) -> None:
    """Finish each act, one step in each transaction."""
    while True:
        change = await term.ask(bulk.next_unfinished)
        if change is None:
            await asyncio.sleep(INTERVAL)
            continue
        await term.write(bulk.step, change)
        await asyncio.sleep(REST)
