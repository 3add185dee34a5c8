"""Notices to the owners of tokens, on the page Token and by mail.

A notice is stored in the transaction of what it is about, so that none is lost. The
controller mails those that are due, and tries again if the mail server is away: a mail
may arrive twice, but is not lost. Several notices of one kind to one owner are one
mail.

The owner can turn mails off, except those of alarms. Tokens of servers and OAuth
clients, which no person requested, give no notices. Leaked tokens have notices and
mails of their own (`tokens/leaks.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Case, Q, QuerySet, When
from django.template import Context, Engine, TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from database.locks import delete_all, locked
from scopes.refusals import Invalid
from tokens.models import APIToken, Purpose, TokenNotice, TokenPreferences

logger = logging.getLogger(__name__)

Kind = TokenNotice.Kind

# Purposes of tokens that no person requested.
SILENT: Final = (Purpose.SERVER, Purpose.CLIENT)
# The days before an expiry at which owners are reminded unless they choose others.
REMINDER_DAYS: Final = (7, 1)
MOST_REMINDERS: Final = 5
EARLIEST_REMINDER: Final = 90
# Notices stay for this time; a network is not reported again before.
KEPT: Final = timedelta(days=90)
# Mails about new networks of one token within a day; more are on the page only.
NETWORKS_PER_DAY: Final = 5
# A mail that could not be sent is tried again after twice the time since the notice,
# and not any more after two days.
FIRST_RETRY: Final = timedelta(minutes=1)
LAST_RETRY: Final = timedelta(days=2)
# Administrators who get the mail about a token of a service.
MOST_RECIPIENTS: Final = 20
# Notices in one mail, and on the page.
MOST_IN_A_MAIL: Final = 50
MOST_SHOWN: Final = 20
# Mails by the setting that turns them off.
SETTINGS: Final = {
    Kind.CREATED: "mail_created",
    Kind.EXPIRING: "mail_expiring",
    Kind.NETWORK: "mail_new_network",
    Kind.DISABLED: "mail_disabled",
}


# Storing


def note_created(token: APIToken, *, by: Actor) -> None:
    """Store the notice of a new token, unless nobody would read that."""
    is_own = token.user is not None and is_by(by, token.user.name)
    if token.purpose not in SILENT and (sends_mails() or not is_own):
        detail = {"by": by.label, "address": by.address}
        row = _row(Kind.CREATED, token.pk, token.created, detail, is_own=is_own)
        TokenNotice.objects.bulk_create([row])


def note(
    kind: TokenNotice.Kind,
    ids: Collection[int],
    *,
    by: Actor | None = None,
    now: datetime | None = None,
    **detail: Any,
) -> None:
    """Store a notice for each of these tokens that a person may want to know about.

    What owners do themselves is not shown to them, but mailed, because it may have been
    somebody else in their name.
    """
    now = now or timezone.now()
    mails = sends_mails()
    tokens = APIToken.objects.filter(pk__in=ids).exclude(purpose__in=SILENT)
    if by is not None:
        detail["by"] = by.label
    rows = []
    for pk, owner in tokens.order_by("pk").values_list("pk", "user__name"):
        is_own = owner is not None and is_by(by, owner)
        if mails or not is_own:
            rows.append(_row(kind, pk, now, detail, is_own=is_own))
    TokenNotice.objects.bulk_create(rows)


def is_by(by: Actor | None, owner: str) -> bool:
    """Tell whether the owner of a token, a user's name, did something to the token."""
    return by is not None and by.kind == "user" and by.name == owner


def _row(
    kind: TokenNotice.Kind,
    pk: int,
    now: datetime,
    detail: dict[str, Any],
    *,
    is_own: bool,
) -> TokenNotice:
    return TokenNotice(
        token_id=pk,
        kind=kind,
        at=now,
        detail=detail,
        mail_due=now if sends_mails() else None,
        seen_at=now if is_own else None,
    )


def note_network(token: APIToken, network: str, agent: str) -> None:
    """Store the notice that a token was used from a new network, once for each."""
    if token.purpose in SILENT:
        return
    now = timezone.now()
    known = TokenNotice.objects.filter(token=token, kind=Kind.NETWORK)
    if known.filter(detail__network=network).exists():
        return
    today = known.filter(at__gt=now - timedelta(days=1)).count()
    is_mailed = sends_mails() and today < NETWORKS_PER_DAY
    TokenNotice.objects.create(
        token=token,
        kind=Kind.NETWORK,
        at=now,
        detail={"network": network, "agent": agent},
        mail_due=now if is_mailed else None,
    )


@transaction.atomic
def remind(now: datetime, most: int = 500) -> int:
    """Store notices of tokens that expire soon; return their number.

    Each token is reminded of once for each of the days that its owner chose, unless its
    whole life is shorter than that. Without mails there is nothing to do: the page
    shows what expires soon.
    """
    if not sends_mails():
        return 0
    soon = APIToken.objects.active(now).exclude(purpose__in=SILENT)
    others = TokenPreferences.objects.exclude(reminder_days=None)
    chosen: dict[int | None, list[int]] = {
        each.user_id: each.reminder_days or [] for each in others
    }
    longest = max((day for days in chosen.values() for day in days), default=0)
    latest = now + timedelta(days=max(longest, *REMINDER_DAYS))
    due: dict[int, int] = {}
    columns = ("pk", "user", "created", "expires_at", "reminded_days")
    rows = soon.filter(expires_at__lte=latest).order_by("expires_at", "pk")
    for pk, user, created, expires_at, reminded in rows.values_list(*columns):
        days = [
            day
            for day in chosen.get(user, REMINDER_DAYS)
            if created + timedelta(days=day) < expires_at <= now + timedelta(days=day)
        ]
        if days and (reminded is None or min(days) < reminded):
            due[pk] = min(days)
            if len(due) == most:
                break
    if not due:
        return 0
    still = locked(APIToken.objects.active(now).filter(pk__in=due))
    ids = list(still.values_list("pk", flat=True))
    for day in sorted({due[pk] for pk in ids}):
        same = [pk for pk in ids if due[pk] == day]
        APIToken.objects.filter(pk__in=same).update(reminded_days=day)
        note(Kind.EXPIRING, same, now=now, days=day)
    return len(ids)


def purge_notices(now: datetime, most: int = 500) -> int:
    """Delete a batch of old notices, and of deleted tokens; return their number."""
    old = Q(at__lt=now - KEPT)
    notices = TokenNotice.objects.order_by("pk")
    ids = list(notices.filter(old).values_list("pk", flat=True)[:most])
    if len(ids) < most:
        orphans = notices.exclude(token__in=APIToken.objects.values("pk"))
        ids += orphans.exclude(old).values_list("pk", flat=True)[: most - len(ids)]
    if ids:
        delete_all(TokenNotice.objects.filter(pk__in=ids))
    return len(ids)


# Showing


def unseen_by(user: User) -> QuerySet[TokenNotice]:
    """Return the notices of a user's tokens that the user has not confirmed yet."""
    notices = TokenNotice.objects.filter(token__user=user, seen_at=None)
    return notices.exclude(kind=Kind.EXPIRING).select_related("token")


def shown_to(user: User) -> dict[str, Any]:
    """Return the notices of the page Token: `alarms`, and the latest of all others.

    An alarm is not hidden by any number of later notices. `notice_count` is the number
    of the others, also of those that are not shown.
    """
    unseen = unseen_by(user)
    is_other = Case(When(kind__in=TokenNotice.ALARMS, then=0), default=1)
    rows = list(unseen.order_by(is_other, "-pk")[: 2 * MOST_SHOWN])
    alarms = [row for row in rows if row.is_alarm]
    others = [row for row in rows if not row.is_alarm]
    return {
        "alarms": alarms[:MOST_SHOWN],
        "notices": others[:MOST_SHOWN],
        "notice_count": (
            unseen.exclude(kind__in=TokenNotice.ALARMS).count() if others else 0
        ),
    }


def confirm(notices: QuerySet[TokenNotice], now: datetime | None = None) -> int:
    """Store that the owner has seen these notices; return their number."""
    return notices.filter(seen_at=None).update(seen_at=now or timezone.now())


# Preferences


def set_preferences(user: User, changes: Mapping[str, Any]) -> TokenPreferences:
    """Store which mails an owner wants; keys are columns, others stay as they are."""
    checked = dict(changes)
    if "reminder_days" in checked:
        checked["reminder_days"] = check_days(checked["reminder_days"])
    chosen, _ = TokenPreferences.objects.update_or_create(user=user, defaults=checked)
    return chosen


def check_days(days: Any) -> list[int] | None:
    """Return the days of reminders, the most first; null is the hub's default."""
    if days is None:
        return None
    if not isinstance(days, list | tuple) or not all(type(day) is int for day in days):
        raise Invalid("reminder_days is a list of numbers of days, or null.")
    found = sorted(set(days), reverse=True)
    if not found:
        return None
    if found[0] > EARLIEST_REMINDER or found[-1] < 1:
        raise Invalid(f"Choose from 1 to {EARLIEST_REMINDER} days.")
    if len(found) > MOST_REMINDERS:
        raise Invalid(f"Choose at most {MOST_REMINDERS} numbers of days.")
    return None if tuple(found) == REMINDER_DAYS else found


# Mailing


def sends_mails() -> bool:
    """Return whether the hub has a mail server."""
    return not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend")


def recipients(token: APIToken) -> list[str]:
    """Return the addresses for mail about a token.

    A service has none, so administrators get the mail in its place.
    """
    if not sends_mails():
        return []
    users = User.objects.filter(is_active=True).exclude(email="")
    users = (
        users.filter(api_tokens=token)
        if token.service_id is None
        else users.filter(admin=True).order_by("pk")
    )
    return list(users.values_list("email", flat=True)[:MOST_RECIPIENTS])


def mails_due(now: datetime, most: int = 20) -> list[list[int]]:
    """Return the ids of notices that are due, those of one mail together."""
    due = TokenNotice.objects.filter(mail_due__lte=now, token__isnull=False)
    columns = ("pk", "kind", "token__user", "token__service")
    mails: dict[tuple[Any, ...], list[int]] = {}
    first = due.order_by("mail_due", "pk").values_list(*columns)
    for pk, *subject in first[: most * MOST_IN_A_MAIL]:
        mails.setdefault(tuple(subject), []).append(pk)
    return [ids[:MOST_IN_A_MAIL] for ids in list(mails.values())[:most]]


def message_for(ids: Collection[int]) -> EmailMessage | None:
    """Return the mail with these notices; None if nobody wants or can get it."""
    notices = list(
        TokenNotice.objects.select_related("token__user", "token__service")
        .filter(pk__in=ids)
        .order_by("pk")
    )
    if not notices:
        return None
    token, kind = notices[0].token, notices[0].kind
    to = recipients(token)
    if not to or not wants_mail(token.user, kind):
        return None
    address = settings.PUBLIC_URL if settings.MAILS_LINKS else ""
    context = {
        "notices": notices,
        "notice": notices[0],
        "token": token,
        "number": len(notices),
        "owner": token.owner,
        "is_service": token.service_id is not None,
        "site_name": settings.SITE_NAME or "Hub",
        "link": f"{address.rstrip('/')}/hub/token" if address else "",
    }
    subject = rendered(f"tokens/email/{kind}_subject.txt", context)
    body = rendered(f"tokens/email/{kind}_message.txt", context)
    return message(subject, body, to)


def message(subject: str, body: str, to: list[str]) -> EmailMessage:
    """Return a mail of which each recipient sees only their own address."""
    return EmailMessage(
        " ".join(subject.split()), body.strip() + "\n", to=to[:1], bcc=to[1:]
    )


def rendered(name: str, context: dict[str, Any]) -> str:
    """Return the text of a mail; a broken template of the operator is replaced."""
    try:
        return render_to_string(name, context)
    except (TemplateSyntaxError, TemplateDoesNotExist) as problem:
        logger.error("The template %s of this hub is broken: %s", name, problem)
    engine = Engine(dirs=[str(settings.BASE_DIR / "templates")])
    return engine.get_template(name).render(Context(context))


def wants_mail(user: User | None, kind: str) -> bool:
    """Return whether an owner wants mails of a kind; alarms are always sent."""
    name = SETTINGS.get(Kind(kind))
    if user is None or name is None:
        return True
    chosen = TokenPreferences.objects.filter(user=user).first()
    return chosen is None or bool(getattr(chosen, name))


def note_mail(
    ids: Iterable[int], *, is_sent: bool, now: datetime | None = None
) -> None:
    """Store that a mail was sent, or when to try again."""
    now = now or timezone.now()
    notices = TokenNotice.objects.filter(pk__in=list(ids))
    if is_sent:
        notices.update(mail_due=None, mailed_at=now)
        return
    for notice in notices.order_by("pk"):
        passed = max(now - notice.at, FIRST_RETRY)
        due = None if passed > LAST_RETRY else now + passed
        TokenNotice.objects.filter(pk=notice.pk).update(mail_due=due)


def give_up_mail(ids: Iterable[int]) -> None:
    """Store that no mail with these notices is to be sent."""
    TokenNotice.objects.filter(pk__in=list(ids)).update(mail_due=None)
