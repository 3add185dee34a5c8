"""Reports of leaked tokens: revoke what was leaked, and mail the owners."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from controller.token_mails import send_mails
from database.notifications import Changes
from tokens import leaks
from tokens.verification import look_for_lost_keys

if TYPE_CHECKING:
    from controller.term import Term

# Seconds between two looks without a notification, and the least between two looks.
INTERVAL = 5.0
REST = 0.1


async def run(term: Term) -> None:
    """Handle each report soon after it was stored, and send mails that are due."""
    await term.ask(look_for_lost_keys)
    async with Changes() as changes:
        while True:
            while await handle_next(term):
                pass
            await send_mails(term, leaks)
            await asyncio.sleep(REST)
            await changes.next(INTERVAL)


async def handle_next(term: Term) -> bool:
    """Handle the oldest report; return whether there was one."""
    report = await term.ask(leaks.next_report)
    if report is None:
        return False
    # Before the transaction, because Argon2 takes time and others want to write.
    leaked = await term.ask(leaks.find_leaked, report)
    await term.write(leaks.end_leaked, report, leaked)
    return True
