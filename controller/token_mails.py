"""Mails about tokens: those of leaks and of notices are sent alike."""

from __future__ import annotations

import asyncio
import logging
from smtplib import SMTPException
from types import ModuleType
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage
from django.utils import timezone

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)


async def send_mails(term: Term, subject: ModuleType) -> None:
    """Send the mails of `tokens.leaks` or `tokens.notices` that are due.

    Each is sent before its rows say so. A mail may be sent twice if the controller ends
    in between, and is never lost.
    """
    for due in await term.ask(subject.mails_due, timezone.now()):
        message = await term.ask(subject.message_for, due)
        if message is None:
            await term.write(subject.give_up_mail, due)
            continue
        is_sent = await asyncio.to_thread(send, message)
        await term.write(subject.note_mail, due, is_sent=is_sent)


def send(message: EmailMessage) -> bool:
    """Send a mail; return whether the mail server took the mail."""
    try:
        message.send()
    except (OSError, SMTPException) as problem:
        logger.error("A mail about a token was not sent: %s", problem)
        return False
    return True
