"""Mail that is sent beside the request that asks for it.

A mail server takes its time, and a page that waits for it says by that whether there is
an account to write to. So a thread of its own talks to the server; what goes wrong
there is in the log.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from smtplib import SMTPException

import structlog
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.smtp import EmailBackend

logger = structlog.get_logger(__name__)

_threads = ThreadPoolExecutor(1, thread_name_prefix="mail")


def deliver(message: EmailMessage) -> None:
    """Send a message, by a thread of its own if it goes to a mail server."""
    message.connection = get_connection()
    if isinstance(message.connection, EmailBackend):
        _threads.submit(_send, message)
    else:
        message.send()


def _send(message: EmailMessage) -> None:
    try:
        message.send()
    except (OSError, SMTPException) as problem:
        logger.error("A mail was not sent", problem=str(problem))
