"""Reports of leaked tokens: anybody may post tokens that they have found.

A report reveals nothing: the request only stores the strings, encrypted, in one
statement, so that its response and its time are the same for tokens and for invented
strings. The controller handles stored reports a moment later:

1. `find_leaked` verifies each whole string. A public id alone revokes nothing.
2. `end_leaked` revokes the tokens, with a row of `Leak` for each, which is the notice
   to its owner.
3. `message_for` makes the mail to the owner, and `note_mail` stores that it was sent,
   or when to try again.

Each step can be repeated, so a restart of the hub loses no report and no mail.
"""

from __future__ import annotations

import logging
import re
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.views.decorators.debug import sensitive_variables

from accounts.attempts import network_of
from accounts.models import User
from audit.actions import record
from audit.models import Actor
from database.locks import delete_all, lock_all, locked
from database.notifications import announce
from database.statements import insert
from scopes.refusals import Busy, Unavailable
from tokens import digests, format, imported, keys, verification
from tokens.actions.importing import MIN_IMPORTED_LENGTH
from tokens.actions.revocation import revoke_tokens
from tokens.actions.rotation import end_earlier_secret
from tokens.models import APIToken, Leak, LeakReport, PreviousSecret
from tokens.notices import FIRST_RETRY, LAST_RETRY, message, recipients, rendered
from web.hooks import Hook
from web.redaction import redact

logger = logging.getLogger(__name__)

# Strings in one report, and reports of one network within an hour, as at GitHub.
MOST: Final = 1_000
PER_HOUR: Final = 60
HOUR: Final = timedelta(hours=1)
# Reports that wait for the controller; each takes milliseconds.
MOST_WAITING: Final = 200
# Days for which handled reports stay, without their strings.
KEPT: Final = timedelta(days=30)
LONGEST_SOURCE: Final = 500

STRING = re.compile(rf"[!-~]{{{MIN_IMPORTED_LENGTH},{format.MAX_LENGTH}}}")

# Called with each leak in the transaction that revokes the token.
post_leak = Hook[[Leak], object]()


class Finding(NamedTuple):
    """A string that somebody found, and the address of the place, if it is known."""

    secret: str
    source: str = ""


class Leaked(NamedTuple):
    """The secret of a token that was found, and the address of the place.

    `earlier_id` is the id of an earlier secret; None for the current one.
    """

    token_id: int
    source: str
    earlier_id: int | None = None


# Receiving


@sensitive_variables()
def receive(
    findings: Sequence[Finding], *, address: str, now: datetime | None = None
) -> None:
    """Store a report for the controller; raise `Busy` beyond the limits.

    The time depends on the length of the report only, never on the tokens of the hub.
    """
    now = now or timezone.now()
    network = network_of(address)
    strings = [
        (finding.secret, finding.source[:LONGEST_SOURCE])
        for finding in findings
        if STRING.fullmatch(finding.secret)
    ]
    report = LeakReport(
        received=now,
        address=address[:64],
        network=network[:64],
        size=len(findings),
        body=_box().encrypt(orjson.dumps(strings)),
    )
    # One statement, so that reports that arrive at the same time are all counted.
    condition = (
        "(SELECT count(*) FROM (SELECT 1 FROM tokens_leakreport"
        " WHERE network = %s AND received > %s LIMIT %s) known) < %s"
        " AND (SELECT count(*) FROM (SELECT 1 FROM tokens_leakreport"
        " WHERE handled_at IS NULL LIMIT %s) waiting) < %s"
    )
    since = connection.ops.adapt_datetimefield_value(now - HOUR)
    parameters = (network, since, PER_HOUR, PER_HOUR, MOST_WAITING, MOST_WAITING)
    with transaction.atomic():
        is_stored = insert(report, condition, parameters)
        announce()
    if not is_stored:
        raise _refusal(network, now)


def _refusal(network: str, now: datetime) -> Busy:
    known = LeakReport.objects.filter(network=network, received__gt=now - HOUR)
    moments = list(known.order_by("received").values_list("received", flat=True))
    if len(moments) < PER_HOUR:
        return Unavailable(
            "Too many reports wait to be handled. Try again in a minute.", 60
        )
    seconds = max(1, int((moments[-PER_HOUR] + HOUR - now).total_seconds()))
    return Busy(
        f"There were {PER_HOUR} reports from your network within the last hour, as many"
        f" as are accepted. Post up to {MOST:,} tokens in one report, or try again"
        f" after {-(-seconds // 60)} minutes.",
        seconds,
    )


# Handling


def next_report() -> LeakReport | None:
    """Return the oldest report that is not handled yet."""
    return LeakReport.objects.filter(handled_at=None).order_by("pk").first()


@sensitive_variables()
def find_leaked(report: LeakReport) -> list[Leaked]:
    """Return the tokens whose whole secret is in a report.

    A forged token of the hub's format costs neither a query nor Argon2.
    """
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for secret, source in _strings(report):
        public_id = verification.public_id_of(secret)
        if public_id:
            imported.claim(secret)
            wanted[public_id].setdefault(secret, source)
    if not wanted:
        return []
    current = APIToken.objects.filter(public_id__in=wanted).order_by("pk")
    earlier = PreviousSecret.objects.filter(public_id__in=wanted).order_by("pk")
    rows = [
        *((*row, None) for row in current.values_list("pk", "public_id", "digest")),
        *earlier.values_list("token_id", "public_id", "digest", "pk"),
    ]
    return [
        Leaked(token_id, source, earlier_id)
        for token_id, public_id, digest, earlier_id in rows
        for secret, source in wanted[public_id].items()
        if digests.matches(secret, digest)
    ]


@transaction.atomic
def end_leaked(
    report: LeakReport, leaked: Sequence[Leaked], now: datetime | None = None
) -> int:
    """End the secrets of a report and store their leaks; return their number.

    A current secret ends with its token. An earlier secret of a rotated token ends
    alone, because the current one has not leaked: else the holder of a secret that was
    replaced could end the token. Tokens that have ended already are left alone, because
    nothing is to be done.
    """
    now = now or timezone.now()
    by = Actor("anonymous", "a leak report", None, report.address)
    tokens = APIToken.objects.filter(pk__in={found.token_id for found in leaked})
    earlier = {found.token_id for found in leaked if found.earlier_id is not None}
    # With the tokens that end with an earlier secret, because all are locked together.
    exchanged = APIToken.objects.filter(exchange__parent__in=earlier)
    ids = [
        *tokens.values_list("pk", flat=True),
        *exchanged.values_list("pk", flat=True),
    ]
    lock_all(APIToken.objects.filter(pk__in=ids))
    valid = {token.pk: token for token in locked(tokens.active(now))}
    ended = [found for found in leaked if found.token_id in valid]
    doomed = [found.token_id for found in ended if found.earlier_id is None]
    revoke_tokens(APIToken.objects.filter(pk__in=doomed), by=by, now=now)
    lock_all(LeakReport.objects.filter(pk=report.pk))
    number = 0
    for found in ended:
        number += _store(found, valid[found.token_id], report.address, by, now)
    LeakReport.objects.filter(pk=report.pk).update(
        handled_at=now, body=b"", found=number
    )
    if number:
        logger.warning(
            "%s leaked secrets were ended after a report from %s",
            number,
            report.address,
        )
    return number


def _store(
    found: Leaked, token: APIToken, address: str, by: Actor, now: datetime
) -> bool:
    """Store the leak of one secret; return whether it is new."""
    public_id = token.public_id
    if found.earlier_id is not None:
        earlier = PreviousSecret.objects.get(pk=found.earlier_id)
        end_earlier_secret(earlier, by=by, now=now)
        public_id = earlier.public_id
    leak, is_new = Leak.objects.get_or_create(
        token=token,
        public_id=public_id,
        defaults={
            "at": now,
            "address": address,
            "source": _shown(found.source),
            "is_earlier": found.earlier_id is not None,
            "mail_due": now if recipients(token) else None,
        },
    )
    if not is_new:
        return False
    record(
        by,
        "token.leak",
        "token",
        str(token),
        owner=token.owner.name,
        owner_kind=token.owner_kind,
        source=leak.source,
        is_earlier=leak.is_earlier,
    )
    post_leak(leak)
    return True


def purge_reports(now: datetime, most: int = 500) -> int:
    """Delete a batch of old reports; return their number."""
    old = LeakReport.objects.filter(handled_at__lt=now - KEPT).order_by("pk")
    ids = list(old.values_list("pk", flat=True)[:most])
    if ids:
        delete_all(LeakReport.objects.filter(pk__in=ids))
    return len(ids)


# Notices


def unseen_by(user: User) -> QuerySet[Leak]:
    """Return the leaks of a user's tokens that the user has not confirmed yet."""
    leaks = Leak.objects.filter(token__user=user, seen_at=None)
    return leaks.select_related("token")


def confirm(leak: Leak, now: datetime | None = None) -> None:
    """Store that the owner has seen the notice of a leak."""
    Leak.objects.filter(pk=leak.pk, seen_at=None).update(seen_at=now or timezone.now())


def mails_due(now: datetime, most: int = 20) -> list[int]:
    """Return the ids of leaks whose owners are to be mailed now."""
    due = Leak.objects.filter(mail_due__lte=now).order_by("mail_due")
    return list(due.values_list("pk", flat=True)[:most])


def message_for(pk: int) -> EmailMessage | None:
    """Return the mail about a leak; None if nobody can get it any more."""
    leak = Leak.objects.select_related("token__user", "token__service").filter(pk=pk)
    found = leak.first()
    to = [] if found is None else recipients(found.token)
    if found is None or not to:
        return None
    address = settings.PUBLIC_URL if settings.MAILS_LINKS else ""
    context = {
        "leak": found,
        "token": found.token,
        "owner": found.token.owner,
        "is_service": found.token.service_id is not None,
        "start": visible_start(found),
        "site_name": settings.SITE_NAME or "Hub",
        "link": f"{address.rstrip('/')}/hub/token" if address else "",
    }
    subject = rendered("tokens/email/leaked_subject.txt", context)
    return message(subject, rendered("tokens/email/leaked_message.txt", context), to)


def visible_start(leak: Leak) -> str:
    """Return the beginning of the leaked secret; imported secrets have none."""
    start = keys.visible_start(leak.public_id or leak.token.public_id)
    return f"{start}…" if start else ""


def note_mail(pk: int, *, is_sent: bool, now: datetime | None = None) -> None:
    """Store that the mail about a leak was sent, or when to try again."""
    now = now or timezone.now()
    leak = Leak.objects.filter(pk=pk)
    if is_sent:
        leak.update(mail_due=None, mailed_at=now)
        return
    began = leak.values_list("at", flat=True).first() or now
    passed = max(now - began, FIRST_RETRY)
    leak.update(mail_due=None if passed > LAST_RETRY else now + passed)


def give_up_mail(pk: int) -> None:
    """Store that no mail about a leak is to be sent."""
    Leak.objects.filter(pk=pk).update(mail_due=None)


# Strings at rest


@sensitive_variables()
def _strings(report: LeakReport) -> list[tuple[str, str]]:
    try:
        text = _box().decrypt(bytes(report.body))
    except InvalidToken:
        logger.error(
            "A report of leaked tokens from %s can't be read, because the secret key"
            " that encrypted it is lost",
            report.address,
        )
        return []
    return [(secret, source) for secret, source in orjson.loads(text)]


def _box() -> MultiFernet:
    """Return the encryption of reports, under keys derived from the secret keys.

    A leaked token is still a secret until it is revoked, so the database never holds
    it in clear.
    """
    known = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet(
        Fernet(
            urlsafe_b64encode(
                salted_hmac("leak report", "key", key, algorithm="sha256").digest()
            )
        )
        for key in known
    )


def _shown(source: str) -> str:
    """Return the address of a place without secrets and control characters."""
    plain = "".join(sign for sign in source if sign.isprintable())
    return redact(plain, "[secret]")[:LONGEST_SOURCE]
