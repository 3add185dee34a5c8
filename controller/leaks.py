"""Reports of leaked tokens: revoke what was leaked, and mail the owners."""

from __future__ import annotations

import asyncio
import logging
from smtplib import SMTPException
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage
from django.utils import timezone

from database.notifications import Changes
from tokens import leaks
from tokens.verification import look_for_lost_keys

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

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
            await send_mails(term)
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


async def send_mails(term: Term) -> None:
    """Send the mails that are due, each before its row says so.

    A mail may be sent twice if the controller ends in between, and is never lost.
    """
    for pk in await term.ask(leaks.mails_due, timezone.now()):
        message = await term.ask(leaks.message_for, pk)
        if message is None:
            await term.write(leaks.give_up_mail, pk)
            continue
        is_sent = await asyncio.to_thread(send, message)
        await term.write(leaks.note_mail, pk, is_sent=is_sent)


def send(message: EmailMessage) -> bool:
    """Send a mail; return whether the mail server took the mail."""
    try:
        message.send()
    except (OSError, SMTPException) as problem:
        logger.error("A mail about a token was not sent: %s", problem)
        return False
    return True
