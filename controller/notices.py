"""Notices to the owners of tokens: remind of what expires, and send mails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from controller.leaks import send
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
        await send_mails(term)
        await asyncio.sleep(INTERVAL)


async def send_mails(term: Term) -> None:
    """Send the mails that are due, each before its rows say so."""
    for ids in await term.ask(notices.mails_due, timezone.now()):
        message = await term.ask(notices.message_for, ids)
        if message is None:
            await term.write(notices.give_up_mail, ids)
            continue
        is_sent = await asyncio.to_thread(send, message)
        await term.write(notices.note_mail, ids, is_sent=is_sent)
