"""Notices to the owners of tokens: remind of what expires, and send mails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from controller.token_mails import send_mails
from tokens import notices

if TYPE_CHECKING:
    from controller.term import Term

# Seconds between two looks at mails that are due, and at tokens that expire.
INTERVAL: Final = 5.0
REMIND_EVERY: Final = 600.0


async def run(term: Term) -> None:
    """Store reminders and send mails, each at its own interval."""
    await asyncio.gather(_remind(term), _mail(term))


async def _remind(term: Term) -> None:
    while True:
        while await term.write(notices.remind, timezone.now()):
            pass
        await asyncio.sleep(REMIND_EVERY)


async def _mail(term: Term) -> None:
    while True:
        await send_mails(term, notices)
        await asyncio.sleep(INTERVAL)
