"""The controller handles reports of leaked tokens, and mails the owners."""

from __future__ import annotations

from datetime import timedelta
from smtplib import SMTPException
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core import mail
from django.utils import timezone

from controller import leaks as task
from controller.token_mails import send_mails
from tests.factories import make_token, make_user
from tokens import leaks, verification
from tokens.leaks import Finding
from tokens.models import Leak

pytestmark = pytest.mark.django_db


class Here:
    """A controller as far as it is needed: it asks the database at once."""

    async def ask(self, do: Any, *args: Any, **keywords: Any) -> Any:
        return await sync_to_async(do)(*args, **keywords)

    write = ask


def handle() -> None:
    async def once() -> None:
        controller: Any = Here()
        while await task.handle_next(controller):
            pass
        await send_mails(controller, leaks)

    async_to_sync(once)()


def reported() -> str:
    _, secret = make_token(make_user("alan", email="alan@example.org"))
    leaks.receive([Finding(secret)], address="203.0.113.7")
    return secret


def test_a_report_ends_in_a_revocation_and_a_mail() -> None:
    secret = reported()

    handle()

    assert verification.verify(secret) is None
    assert [message.to for message in mail.outbox] == [["alan@example.org"]]
    leak = Leak.objects.get()
    assert leak.mailed_at is not None
    assert leak.mail_due is None
    handle()
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("problem", [OSError("no route"), SMTPException("busy")])
def test_a_mail_server_that_is_away_delays_the_mail_only(
    monkeypatch: Any, problem: Exception
) -> None:
    secret = reported()

    def fail(*args: Any) -> None:
        raise problem

    with monkeypatch.context() as patched:
        patched.setattr("django.core.mail.EmailMessage.send", fail)
        handle()

    assert verification.verify(secret) is None
    leak = Leak.objects.get()
    assert leak.mailed_at is None
    assert leak.mail_due is not None
    assert leak.mail_due > timezone.now()
    Leak.objects.update(mail_due=timezone.now() - timedelta(seconds=1))
    handle()
    assert len(mail.outbox) == 1


def test_an_owner_whose_address_is_gone_gets_no_mail() -> None:
    reported()
    stored = leaks.next_report()
    assert stored is not None
    leaks.end_leaked(stored, leaks.find_leaked(stored))
    Leak.objects.get().token.owner.__class__.objects.update(email="")

    handle()

    assert not mail.outbox
    assert Leak.objects.get().mail_due is None
