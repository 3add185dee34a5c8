"""Notices to the owners of tokens, by mail and on their page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from smtplib import SMTPException
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from controller.token_mails import send_mails
from services.models import Service
from tests.factories import make_token, make_user
from tokens import activity, notices, tripwire
from tokens.actions.issuing import issue_token
from tokens.actions.pausing import disable_tokens, freeze_tokens
from tokens.actions.rotation import rotate_token
from tokens.models import (
    APIToken,
    CreatedVia,
    PreviousSecret,
    Purpose,
    TokenNotice,
    TokenPreferences,
)

pytestmark = pytest.mark.django_db
ADMIN = Actor("user", "grace", None, "192.0.2.1")
KINDS = [str(kind) for kind in TokenNotice.Kind]


class Here:
    """A controller as far as it is needed: it asks the database at once."""

    async def ask(self, do: Any, *args: Any, **keywords: Any) -> Any:
        return await sync_to_async(do)(*args, **keywords)

    write = ask


def send() -> list[str]:
    """Send the mails that are due; return the subjects of all mails."""
    controller: Any = Here()
    async_to_sync(send_mails)(controller, notices)
    return [message.subject for message in mail.outbox]


@pytest.fixture
def owner() -> User:
    return make_user("alan", email="alan@example.org")


@pytest.fixture
def token(owner: User) -> APIToken:
    token, _ = make_token(owner, note="Grader")
    TokenNotice.objects.all().delete()
    return token


def rows(token: APIToken) -> Any:
    return APIToken.objects.filter(pk=token.pk)


def kinds() -> list[str]:
    return list(TokenNotice.objects.order_by("pk").values_list("kind", flat=True))


def test_a_new_token_gives_a_mail(owner: User) -> None:
    by = Actor("user", "alan", None, "192.0.2.1")
    issue_token(owner, by=by, note="Grader", via=CreatedVia.PAGE)
    assert send() == ["Hub: your token “Grader” was created"]
    assert mail.outbox[0].to == ["alan@example.org"]
    assert "192.0.2.1" in mail.outbox[0].body
    notice = TokenNotice.objects.get()
    assert notice.mailed_at is not None
    # The owner knows that already, so the page does not show the notice.
    assert not notices.unseen_by(owner).exists()
    assert len(send()) == 1


@pytest.mark.parametrize(
    ("via", "purpose"),
    [
        (CreatedVia.SERVER, Purpose.SERVER),
        (CreatedVia.OAUTH, Purpose.CLIENT),
        (CreatedVia.API, Purpose.CLIENT),
    ],
)
def test_tokens_that_nobody_requested_give_no_notices(
    owner: User, via: CreatedVia, purpose: Purpose
) -> None:
    token, _ = issue_token(owner, by=ADMIN, via=via, purpose=purpose, expires_in=3600)
    disable_tokens(rows(token), by=ADMIN)
    notices.note_network(token, "192.0.2.0/24", "")
    assert kinds() == []


def test_the_kinds_of_changes(token: APIToken) -> None:
    disable_tokens(rows(token), by=ADMIN)
    freeze_tokens(rows(token), by=ADMIN, reason="An alarm.")
    assert kinds() == ["disabled", "frozen"]
    subjects = send()
    assert [subject.rpartition("was ")[2] for subject in subjects] == [
        "disabled",
        "frozen by an alarm",
    ]
    assert "by grace" in mail.outbox[0].body
    assert "An alarm." in mail.outbox[1].body


@pytest.mark.parametrize("freezes", [True, False])
def test_the_use_of_an_earlier_secret_gives_one_notice(
    token: APIToken, freezes: bool
) -> None:
    rotate_token(token, overlap=0, freezes=freezes, by=ADMIN)
    secret = PreviousSecret.objects.get()
    tripwire.forget()
    assert tripwire.trip(secret.pk, "203.0.113.9")
    assert kinds() == ["frozen" if freezes else "tripped"]
    assert len(send()) == 1


def call(secret: str, address: str) -> None:
    Client().get(
        "/hub/api/user",
        headers={"authorization": f"token {secret}"},
        REMOTE_ADDR=address,
    )
    activity.flush()
    activity.forget()
    # As if a minute had passed.
    for row in APIToken.objects.all():
        row.days.update(written_at=None)


def test_a_new_network_gives_one_notice_but_the_first_gives_none(owner: User) -> None:
    _, secret = make_token(owner, note="Grader")
    TokenNotice.objects.all().delete()
    call(secret, "192.0.2.1")
    call(secret, "192.0.2.200")
    assert kinds() == []

    call(secret, "198.51.100.1")
    call(secret, "198.51.100.2")
    call(secret, "192.0.2.1")

    assert kinds() == ["network"]
    assert send() == ["Hub: your token “Grader” was used from a new network"]
    assert "198.51.100.0/24" in mail.outbox[0].body


def test_networks_that_alternate_are_not_reported_again(token: APIToken) -> None:
    for _ in range(2):
        for number in range(8):
            notices.note_network(token, f"10.{number}.0.0/24", "")
    assert len(kinds()) == 8
    due = TokenNotice.objects.exclude(mail_due=None)
    assert due.count() == notices.NETWORKS_PER_DAY


def test_reminders_come_once_for_each_day_that_was_chosen(token: APIToken) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    ends = now + timedelta(days=20)
    rows(token).update(created=now, expires_at=ends)

    def reminded(days: float) -> int:
        return notices.remind(ends - timedelta(days=days))

    numbers = [reminded(days) for days in (8, 7, 6, 1.1, 1, 0.5)]
    assert numbers == [0, 1, 0, 0, 1, 0]

    TokenNotice.objects.all().delete()
    rows(token).update(reminded_days=None)
    TokenPreferences.objects.create(user=token.user, reminder_days=[14, 2])
    numbers = [reminded(days) for days in (15, 14, 7, 2, 1)]
    assert numbers == [0, 1, 0, 1, 0]
    assert kinds() == ["expiring"] * 2


def test_no_reminder_of_a_token_that_never_lives_so_long(token: APIToken) -> None:
    now = timezone.now()
    rows(token).update(created=now, expires_at=now + timedelta(hours=5))
    assert notices.remind(now) == 0
    rows(token).update(
        created=now - timedelta(days=90),
        expires_at=now + timedelta(hours=5),
        revoked_at=now,
    )
    assert notices.remind(now) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_mails_can_be_turned_off_but_alarms_can_not(token: APIToken, kind: str) -> None:
    TokenPreferences.objects.create(
        user=token.user,
        mail_created=False,
        mail_expiring=False,
        mail_new_network=False,
        mail_disabled=False,
    )
    notices.note(TokenNotice.Kind(kind), [token.pk])
    assert len(send()) == (1 if kind in ("frozen", "tripped") else 0)
    assert TokenNotice.objects.get().mail_due is None


@pytest.mark.parametrize("kind", KINDS)
def test_many_notices_of_one_kind_are_one_mail(owner: User, kind: str) -> None:
    tokens = [make_token(owner, note=f"n{number}")[0] for number in range(3)]
    TokenNotice.objects.all().delete()
    notices.note(TokenNotice.Kind(kind), [token.pk for token in tokens], by=ADMIN)
    (subject,) = send()
    assert "3 tokens of alan" in subject
    assert all(f"n{number} (" in mail.outbox[0].body for number in range(3))
    assert "<" not in mail.outbox[0].body


@pytest.mark.parametrize("problem", [OSError("no route"), SMTPException("busy")])
def test_a_mail_server_that_is_away_delays_the_mail_only(
    token: APIToken, monkeypatch: Any, problem: Exception
) -> None:
    notices.note(TokenNotice.Kind.FROZEN, [token.pk])

    def fail(*args: Any) -> None:
        raise problem

    with monkeypatch.context() as patched:
        patched.setattr("django.core.mail.EmailMessage.send", fail)
        assert send() == []
    notice = TokenNotice.objects.get()
    assert notice.mail_due is not None
    assert notice.mail_due > timezone.now()
    TokenNotice.objects.update(mail_due=timezone.now())
    assert len(send()) == 1


def test_administrators_get_the_mails_about_services() -> None:
    make_user("grace", admin=True, email="grace@example.org")
    make_user("alan", email="alan@example.org")
    token, _ = make_token(Service.objects.create(name="grader"))
    TokenNotice.objects.all().delete()
    notices.note(TokenNotice.Kind.DISABLED, [token.pk])
    send()
    assert mail.outbox[0].recipients() == ["grace@example.org"]


def test_without_a_mail_server_only_the_page_tells(
    token: APIToken, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    disable_tokens(rows(token), by=Actor("user", "alan", None, ""))
    assert kinds() == []
    freeze_tokens(rows(token), by=ADMIN, reason="An alarm.")
    assert TokenNotice.objects.get().mail_due is None
    assert notices.unseen_by(token.user).count() == 1


@pytest.mark.parametrize("text", ["Own text for {{ token.note }}", "{% broken %}"])
def test_an_operator_can_replace_the_text_of_a_mail(
    token: APIToken, settings: Any, tmp_path: Any, text: str
) -> None:
    own = tmp_path / "tokens" / "email" / "frozen_subject.txt"
    own.parent.mkdir(parents=True)
    own.write_text(text)
    engine = {**settings.TEMPLATES[0]}
    engine["DIRS"] = [tmp_path, *engine["DIRS"]]
    settings.TEMPLATES = [engine]
    notices.note(TokenNotice.Kind.FROZEN, [token.pk])
    (subject,) = send()
    if "broken" in text:
        assert subject == "Hub: your token “Grader” was frozen by an alarm"
    else:
        assert subject == "Own text for Grader"


def test_the_directory_of_the_data_has_an_operators_templates() -> None:
    from django.conf import settings

    first = settings.TEMPLATES[0]["DIRS"][0]
    assert first == settings.DATA_DIR / "templates"


def test_old_notices_and_those_of_deleted_tokens_are_deleted(token: APIToken) -> None:
    now = timezone.now()
    notices.note(TokenNotice.Kind.FROZEN, [token.pk])
    for pk, at in ((token.pk, now - timedelta(days=91)), (token.pk + 99, now)):
        TokenNotice.objects.create(token_id=pk, kind="frozen", at=at)
    assert notices.purge_notices(now) == 2
    assert notices.purge_notices(now) == 0
    assert TokenNotice.objects.count() == 1


# The pages


def test_the_page_shows_a_notice_until_it_was_seen(token: APIToken, as_: Any) -> None:
    freeze_tokens(rows(token), by=ADMIN, reason="An alarm.")
    notice = TokenNotice.objects.get()
    address = f"/hub/token/notices/{notice.pk}/seen"
    client = as_(token.user)
    assert "was frozen by an alarm" in client.get("/hub/token").content.decode()

    assert as_(make_user("eve")).post(address).status_code == 404
    assert client.get(address).status_code == 405
    assert client.post(address).status_code == 302

    assert "was frozen by an alarm" not in client.get("/hub/token").content.decode()


def test_many_notices_are_folded_and_removed_together(owner: User, as_: Any) -> None:
    eve, _ = make_token(make_user("eve"))
    tokens = [make_token(owner, note=f"job {number}")[0] for number in range(30)]
    TokenNotice.objects.all().delete()
    notices.note(TokenNotice.Kind.DISABLED, [each.pk for each in (*tokens, eve)])
    client = as_(owner)
    page = client.get("/hub/token").content.decode()
    assert "(30, the latest 20 shown)" in page
    latest = re.search(r'name="latest" value="(\d+)"', page)
    assert latest
    # This one comes after the page was loaded.
    notices.note(TokenNotice.Kind.DISABLED, [tokens[0].pk])

    address = "/hub/token/notices/seen"
    assert client.get(address).status_code == 405
    for wrong in ("", "x", "-1", "²", "9" * 30):
        assert client.post(address, {"latest": wrong}).status_code == 302
    assert notices.unseen_by(owner).count() == 31
    client.post(address, {"latest": latest[1]})

    assert notices.unseen_by(owner).count() == 1
    assert notices.unseen_by(User.objects.get(name="eve")).count() == 1


def test_no_number_of_notices_hides_or_removes_an_alarm(owner: User, as_: Any) -> None:
    token, _ = make_token(owner, note="alarming")
    others = [make_token(owner)[0].pk for _ in range(notices.MOST_SHOWN * 2 + 1)]
    TokenNotice.objects.all().delete()
    freeze_tokens(rows(token), by=ADMIN, reason="An alarm.")
    notices.note(TokenNotice.Kind.DISABLED, others)
    client = as_(owner)
    assert "was frozen by an alarm" in client.get("/hub/token").content.decode()

    latest = TokenNotice.objects.latest("pk").pk
    client.post("/hub/token/notices/seen", {"latest": latest})

    assert "was frozen by an alarm" in client.get("/hub/token").content.decode()
    assert notices.unseen_by(owner).count() == 1


def test_the_page_of_mails_stores_what_the_owner_wants(owner: User, as_: Any) -> None:
    client = as_(owner)
    address = "/hub/token/notices"
    page = client.get(address)
    assert page.status_code == 200
    assert 'value="7, 1"' in page.content.decode()
    assert not TokenPreferences.objects.exists()

    given = {"days": "3, 14 1", "mail_created": "on"}
    assert client.post(address, given).status_code == 302

    stored = TokenPreferences.objects.get(user=owner)
    assert stored.reminder_days == [14, 3, 1]
    assert stored.mail_created
    assert not stored.mail_expiring
    assert client.post(address, {"days": "7, 1"}).status_code == 302
    assert TokenPreferences.objects.get().reminder_days is None
    for wrong in ("x", "0", "91", "-1", "1,2,3,4,5,6", "²", "1" * 41):
        assert client.post(address, {"days": wrong}).status_code == 400
