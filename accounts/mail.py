"""Mail that is sent in a thread of its own.

A mail server is slow, and a page that waits for it would reveal by its time whether an
account exists. So a separate thread sends the mail; errors are logged.
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
    """Send a message, in a thread if it goes to a mail server."""
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
