"""Mail that is sent in a thread of its own.

A mail server is slow, and a page that waits for it would reveal by its time whether an
account exists. So a separate thread sends the mail; errors are logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from smtplib import SMTPException
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.db import transaction
from django.template.loader import render_to_string

logger = structlog.get_logger(__name__)

# The port of mail servers that encrypt from the first byte.
TLS_PORT: Final = 465

_threads = ThreadPoolExecutor(1, thread_name_prefix="mail")


def deliver(message: EmailMessage, server: Mapping[str, str] | None = None) -> None:
    """Send a message, in a thread if it goes to a mail server.

    `server` is another one than the hub's, as NativeAuthenticator names it: `url`,
    `usr` and `pwd`.
    """
    message.connection = _connection(server) if server else get_connection()
    if isinstance(message.connection, EmailBackend):
        _threads.submit(_send, message)
    else:
        message.send()


def sends_mails() -> bool:
    """Return whether the hub has a mail server."""
    return not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend")


def mail_about(
    template: str,
    context: dict[str, Any],
    to: Sequence[str],
    *,
    texts: Sequence[str] = (),
    server: Mapping[str, str] | None = None,
) -> None:
    """Send a mail from templates, once the transaction has ended.

    `texts` are an operator's own sender, subject and text instead, of which the text
    contains `{approval_url}`. Each recipient sees only their own address.
    """
    sender, subject, body = texts or ("", "", "")
    context = {"site_name": settings.SITE_NAME or "Hub", **context}
    subject = subject or render_to_string(f"{template}_subject.txt", context)
    if body:
        body = body.replace("{approval_url}", context["link"])
    else:
        body = render_to_string(f"{template}_message.txt", context)
    message = EmailMessage(
        " ".join(subject.split()),
        body.strip() + "\n",
        sender or None,
        to=list(to[:1]),
        bcc=list(to[1:]),
    )
    transaction.on_commit(partial(deliver, message, server), robust=True)


def _connection(server: Mapping[str, str]) -> Any:
    host, _, port = server.get("url", "").partition(":")
    return get_connection(
        "django.core.mail.backends.smtp.EmailBackend",
        host=host,
        port=int(port or TLS_PORT),
        username=server.get("usr", ""),
        password=server.get("pwd", ""),
        use_ssl=True,
        use_tls=False,
    )


def _send(message: EmailMessage) -> None:
    try:
        message.send()
    except (OSError, SMTPException) as problem:
        logger.error("A mail was not sent", problem=str(problem))
