"""Reports of leaked tokens: what they end, whom they notify, what is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import Actor, Event
from tests.factories import BY, make_service, make_token, make_user
from tokens import digests, format, leaks, verification
from tokens.actions import importing, pausing, revocation, rotation
from tokens.leaks import Finding
from tokens.models import APIToken, Leak, LeakReport

pytestmark = pytest.mark.django_db

IMPORTED = "a-secret-of-the-configuration"


@pytest.fixture(autouse=True)
def mailing(settings: Any) -> None:
    settings.MAILS_LINKS = True
    settings.PUBLIC_URL = "https://hub.example.org/"


def report(*strings: str, source: str = "", address: str = "203.0.113.7") -> int:
    """Receive and handle a report; return the number of revoked tokens."""
    leaks.receive([Finding(each, source) for each in strings], address=address)
    stored = leaks.next_report()
    assert stored is not None
    return leaks.end_leaked(stored, leaks.find_leaked(stored))


def test_generated_and_imported_tokens_are_revoked() -> None:
    alan, portal = make_user("alan"), make_service("portal")
    secrets = [make_token(alan)[1], make_token(portal)[1], IMPORTED]
    importing.import_token(portal, IMPORTED, by=Actor.system("tests"))

    assert report(*secrets) == 3
    assert [verification.verify(secret) for secret in secrets] == [None] * 3


def test_a_warm_cache_does_not_keep_a_leaked_token() -> None:
    _, secret = make_token()
    assert verification.verify(secret)

    report(secret)

    assert verification.verify(secret) is None


def test_the_whole_token_is_needed() -> None:
    token, secret = make_token()
    other = make_token()[1]
    wrong = [
        token.public_id,
        secret[:-1],
        secret[:-60] + other[-60:],
        other[:4] + secret[4:16] + other[16:],
        secret.upper(),
        str(token),
        token.digest[:128],
    ]

    assert report(*wrong) == 0
    assert verification.verify(secret)


def test_the_whole_token_is_needed_without_tag_keys_too(settings: Any) -> None:
    settings.TOKEN_TAG_KEYS = []
    token, secret = make_token()
    forged = [
        format.generate("hub", [], public_id=token.public_id)[0] for _ in range(3)
    ]

    assert report(*forged) == 0
    assert report(secret) == 1


def test_forgeries_cost_neither_a_query_nor_argon2(monkeypatch: Any) -> None:
    token, _ = make_token()
    hashed: list[Any] = []
    monkeypatch.setattr(digests, "matches", lambda *words: hashed.append(words))
    # With a public id that exists, and a right checksum.
    forged = [
        format.generate("hub", [b"another hub's"], public_id=token.public_id)[0]
        for _ in range(leaks.MOST)
    ]
    leaks.receive([Finding(each) for each in forged], address="203.0.113.7")
    stored = leaks.next_report()
    assert stored is not None

    with CaptureQueriesContext(connection) as queries:
        assert leaks.find_leaked(stored) == []

    assert len(queries) == 0
    assert hashed == []


def test_no_secret_is_stored_in_clear() -> None:
    _, secret = make_token()
    leaks.receive([Finding(secret)], address="203.0.113.7")
    stored = LeakReport.objects.get()
    assert secret.encode() not in bytes(stored.body)
    assert secret[17:40].encode() not in bytes(stored.body)

    leaks.end_leaked(stored, leaks.find_leaked(stored))

    stored.refresh_from_db()
    assert bytes(stored.body) == b""
    assert (stored.size, stored.found) == (1, 1)


def test_the_place_is_stored_without_the_secret() -> None:
    _, secret = make_token()

    report(secret, source=f"https://example.org/?token={secret}\0\n&x=1")

    assert Leak.objects.get().source == "https://example.org/?token=[secret]&x=1"
    assert secret not in str(list(Event.objects.values()))


def test_a_report_whose_key_is_lost_is_dropped(settings: Any, caplog: Any) -> None:
    _, secret = make_token()
    leaks.receive([Finding(secret)], address="203.0.113.7")
    settings.SECRET_KEY = "another one"
    stored = leaks.next_report()
    assert stored is not None

    assert leaks.end_leaked(stored, leaks.find_leaked(stored)) == 0
    assert leaks.next_report() is None
    assert "can't be read" in caplog.text


def test_the_audit_log_has_the_origin_and_hooks_are_called() -> None:
    token, secret = make_token(make_user("alan"))
    called: list[Leak] = []
    leaks.post_leak.connect(called.append)
    try:
        report(secret, source="https://example.org/x")
    finally:
        leaks.post_leak.disconnect(called.append)

    event = Event.objects.get(action="token.leak")
    assert (event.target_name, event.address) == (str(token), "203.0.113.7")
    assert event.actor_kind == "anonymous"
    assert event.detail["owner"] == "alan"
    assert event.detail["source"] == "https://example.org/x"
    assert Event.objects.filter(action="token.revoke", target_name=str(token)).exists()
    assert [leak.token_id for leak in called] == [token.pk]


@pytest.mark.parametrize("state", ["revoked", "expired", "again"])
def test_an_ended_token_shows_no_owner(state: str) -> None:
    token, secret = make_token(make_user(email="alan@example.org"))
    if state == "revoked":
        revocation.revoke_token(token, by=Actor.system("tests"))
    elif state == "expired":
        APIToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    else:
        report(secret)
    before = Leak.objects.count()

    assert report(secret) == 0
    assert Leak.objects.count() == before


def test_a_disabled_token_can_not_be_enabled_after_a_leak() -> None:
    token, secret = make_token()
    mine = APIToken.objects.filter(pk=token.pk)
    pausing.disable_tokens(mine, by=Actor.system("tests"))

    assert report(secret) == 1
    assert pausing.enable_tokens(mine, by=Actor.system("tests")) == 0


def test_other_tokens_of_the_owner_and_of_the_client_stay() -> None:
    alan = make_user("alan")
    _, secret = make_token(alan, client_id="app")
    others = [make_token(alan)[1], make_token(alan, client_id="app")[1]]

    assert report(secret) == 1
    assert all(verification.verify(other) for other in others)


# Mails


def due() -> list[int]:
    return leaks.mails_due(timezone.now() + timedelta(seconds=1))


def test_the_owner_gets_a_mail() -> None:
    token, secret = make_token(
        make_user("alan", email="alan@example.org"), note="backup <&> job"
    )
    report(secret, source="https://example.org/x")
    (pk,) = due()
    message = leaks.message_for(pk)
    assert message is not None
    message.send()

    (sent,) = mail.outbox
    assert sent.to == ["alan@example.org"]
    assert "“backup <&> job” was leaked and is revoked" in sent.subject
    assert "203.0.113.7" in sent.body
    assert "https://example.org/x" in sent.body
    assert f"hub_{token.public_id}_…" in sent.body
    assert "https://hub.example.org/hub/token" in sent.body
    assert secret not in str(sent.message())


def test_administrators_get_the_mail_about_a_service() -> None:
    make_user("ada", admin=True, email="ada@example.org")
    make_user("eve", admin=True, email="eve@example.org")
    make_user("mallory", email="mallory@example.org")
    report(make_token(make_service("portal"))[1])

    (pk,) = due()
    message = leaks.message_for(pk)

    assert message is not None
    assert message.recipients() == ["ada@example.org", "eve@example.org"]
    assert "eve@" not in str(message.message())
    assert "service portal" in message.body


@pytest.mark.parametrize("why", ["no address", "no mail server", "blocked"])
def test_nobody_to_mail(why: str, settings: Any) -> None:
    user = make_user(email="" if why == "no address" else "x@example.org")
    if why == "no mail server":
        settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    _, secret = make_token(user)
    if why == "blocked":
        user.is_active = False
        user.save()

    assert report(secret) == 1
    assert due() == []
    assert Leak.objects.filter(mailed_at=None).count() == 1


def test_a_mail_that_failed_is_tried_again_and_not_for_ever() -> None:
    report(make_token(make_user(email="alan@example.org"))[1])
    (pk,) = due()
    began = Leak.objects.get().at

    tries, now = 0, began
    while Leak.objects.get().mail_due is not None:
        leaks.note_mail(pk, is_sent=False, now=now)
        now = Leak.objects.get().mail_due or now
        tries += 1
        assert tries < 50
    assert tries > 5
    assert now - began >= timedelta(days=1)
    assert Leak.objects.get().mailed_at is None


def test_old_reports_are_deleted() -> None:
    report("x" * 40)
    now = timezone.now()

    assert leaks.purge_reports(now) == 0
    assert leaks.purge_reports(now + leaks.KEPT + timedelta(days=1)) == 1
    assert not LeakReport.objects.exists()


# Rotated tokens


def rotated(**options: Any) -> tuple[APIToken, str, str]:
    """Return a token with its earlier and its current secret."""
    token, earlier = make_token(make_user(email="alan@example.org"), note="job")
    token, current = rotation.rotate_token(token, by=BY, **options)
    return token, earlier, current


@pytest.mark.parametrize("overlap", [0, 3600])
def test_an_earlier_secret_ends_alone(overlap: int) -> None:
    _token, earlier, current = rotated(overlap=overlap)

    assert report(earlier) == 1

    assert verification.verify(earlier) is None
    assert verification.verify(current) is not None
    leak = Leak.objects.get()
    assert leak.is_earlier
    assert leak.public_id == format.public_id(earlier)
    (pk,) = due()
    message = leaks.message_for(pk)
    assert message is not None
    assert "an earlier secret was leaked" in message.subject
    assert "stays valid" in message.body
    assert leak.public_id in message.body
    assert report(earlier) == 0
    assert Leak.objects.count() == 1


def test_earlier_and_current_secret_in_one_report() -> None:
    token, earlier, current = rotated()

    assert report(earlier, current) == 2

    assert verification.verify(earlier) is None
    assert verification.verify(current) is None
    assert {leak.is_earlier for leak in token.leaks.all()} == {True, False}


def test_a_forged_earlier_secret_ends_nothing(settings: Any) -> None:
    settings.TOKEN_TAG_KEYS = []
    _token, earlier, current = rotated()
    public_id = format.public_id(earlier)
    forged = format.generate("hub", [], public_id=public_id)[0]

    assert report(forged) == 0
    assert verification.verify(earlier)
    assert verification.verify(current)
