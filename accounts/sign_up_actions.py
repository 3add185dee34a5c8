"""Actions on sign-ups: people who want an account, and operators who let them in.

Nobody has an account before an operator has approved the sign-up, or a link in a mail
was followed, or the hub is open to all. A name is only given without an operator if
nobody has it and the configuration gives no rights to it: otherwise a stranger who is
quick would be the administrator of the file, or the owner of an account that waits for
its person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core import signing
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts.actions import (
    create_user,
    leave_administrators_to_administrators,
    lock_user,
)
from accounts.administrators import administrators
from accounts.attempts import requests_within
from accounts.configured import names_with_rights
from accounts.mail import mail_about, sends_mails
from accounts.models import SignUp, User
from accounts.naming import is_named
from accounts.rights import members_among
from audit.actions import record
from audit.models import Actor
from database.locks import delete_all, locked
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from web.hosts import public_url

State = SignUp.State

MAX_NOTE: Final = 1_023
# Sign-ups that wait: for one name, and all together.
MOST_FOR_A_NAME: Final = 5
MOST_PENDING: Final = 10_000
# How long a refusal is shown to the person.
REFUSAL_KEPT: Final = timedelta(days=30)
# Seconds for which a link in a mail is valid.
LINK_SECONDS: Final = 3600
LINK_SALT: Final = "sign-up"
# Shown to the others who signed up with a name.
TAKEN: Final = "Somebody else has this name now."
# Operators who are mailed, and mails about sign-ups to them within an hour.
MOST_MAILED: Final = 50
MAILS_AN_HOUR: Final = 10


def is_free(name: str) -> bool:
    """Return whether a name may be given to a person whom no operator knows."""
    return (
        name not in names_with_rights()
        and lists_admit(name)
        and not User.objects.filter(name=name).exists()
    )


def is_listed_and_unused(name: str) -> bool:
    """Tell whether the configuration gives a name to the first person who wants it."""
    hub = settings.HUB
    return (
        hub.signup_gives_listed_names
        and name in (hub.allowed_users | hub.admin_users) - hub.blocked_users
        and not in_use(User.objects.filter(name=name))
    )


def lists_admit(name: str) -> bool:
    """Return whether a person with an account of this name may sign in."""
    hub = settings.HUB
    return name not in hub.blocked_users and (
        hub.allow_all
        or hub.allow_existing_users
        or name in hub.allowed_users
        or name in hub.admin_users
    )


@transaction.atomic
def sign_up(
    name: str,
    digest: str,
    *,
    email: str = "",
    terms_accepted: bool = False,
    by: Actor,
) -> tuple[SignUp, User | None]:
    """Store that somebody wants an account; return the account if it is there at once.

    `name` is checked and normalised, and `digest` that of the password. For a name that
    somebody has, the same is stored and returned, so the response does not show that.
    """
    waiting = SignUp.objects.filter(state=State.PENDING)
    if waiting.filter(name=name).count() >= MOST_FOR_A_NAME:
        raise Conflict(
            "Several people wait for this name. Choose another one, or ask an"
            " administrator of this hub."
        )
    if waiting.filter(is_imported=False).count() >= MOST_PENDING:
        raise Conflict(
            "Too many people wait for a decision already. Ask an administrator of this"
            " hub."
        )
    row = SignUp.objects.create(
        name=name,
        password=digest,
        email=email,
        terms_accepted=terms_accepted,
        created_address=by.address,
    )
    record(by, "sign_up.ask", "sign_up", str(row))
    if is_listed_and_unused(name):
        user = User.objects.filter(name=name).first()
        if user is not None:
            user, _ = lock_user(user, by)
        if user is None or user.pk not in in_use([user]):
            return row, _let_in(row, user, by=_hub(by))
    free = is_free(name)
    if free and settings.HUB.signup == "open":
        return row, _let_in(row, by=_hub(by))
    if free and may_confirm(email):
        _mail_link(row)
    else:
        tell_operators(row)
    return row, None


def may_confirm(email: str) -> bool:
    """Return whether the owner of a mail address is let in by a link in a mail."""
    pattern = settings.HUB.signup_self_approval
    return bool(
        email
        and pattern
        and mails_links()
        # The whole address, because otherwise `@example.org` would also admit
        # `@example.org.example.net`.
        and re.fullmatch(pattern, email)
    )


def mails_links() -> bool:
    """Return whether links can be mailed: there are a server and a public address."""
    has_server = settings.EMAIL_HOST or settings.HUB.signup_mail_server
    return bool(has_server and settings.PUBLIC_URL)


def confirm(link: str, *, by: Actor) -> User | None:
    """Let in the person who followed a link; None if an operator has to decide.

    Raises `NotFound` for a link that is wrong or old, or whose sign-up was decided.
    """
    row = waiting_for(link)
    with transaction.atomic():
        found = _lock_waiting(row)
        if found is None:
            raise NotFound("This sign-up was decided meanwhile.")
        SignUp.objects.filter(pk=found.pk).update(is_confirmed=True)
        record(by, "sign_up.confirm", "sign_up", str(found))
        if is_free(found.name) and may_confirm(found.email):
            return _let_in(found, by=_hub(by))
        found.is_confirmed = True
        tell_operators(found)
    return None


def waiting_for(link: str) -> SignUp:
    """Return the sign-up that a link in a mail is for; raise `NotFound` if none."""
    try:
        pk = signing.loads(link, salt=LINK_SALT, max_age=LINK_SECONDS)
    except signing.BadSignature:
        raise NotFound("This link is wrong, or older than an hour.") from None
    row = SignUp.objects.filter(pk=pk, state=State.PENDING).first()
    if row is None:
        raise NotFound("This sign-up was decided meanwhile.")
    return row


def link_for(row: SignUp) -> str:
    """Return the path of the link that confirms the address of a sign-up."""
    signed = signing.dumps(row.pk, salt=LINK_SALT)
    return reverse("accounts:confirm", args=(signed,))


@transaction.atomic
def approve(row: SignUp, *, by: Actor, by_admin: bool = False) -> User:
    """Give a person the account: create it, or set the password of an unused one.

    An operator needs the rights to sign in as the owner of an unused account.
    """
    user = User.objects.filter(name=row.name).first()
    if user is not None:
        user, _ = lock_user(user, by)
    found = _lock_waiting(row)
    if found is None:
        raise Conflict("This sign-up was decided meanwhile.")
    if user is None:
        return _let_in(found, by=by, by_admin=by_admin)
    if user.pk in in_use([user]):
        raise Conflict(
            f"{user.name} has an account that somebody uses. Refuse this sign-up; if it"
            " is the same person, create a link on the page of the account"
        )
    _check_rights(user, by, by_admin)
    return _let_in(found, user, by=by, by_admin=by_admin)


@transaction.atomic
def refuse(row: SignUp, *, note: str = "", by: Actor) -> None:
    """Refuse a sign-up; the note is shown to the person who knows its password."""
    if len(note) > MAX_NOTE or "\0" in note:
        raise Invalid(f"The note is a text of {MAX_NOTE} characters at most.")
    _decide(row, State.REFUSED, note=note, by=by)
    record(by, "sign_up.refuse", "sign_up", str(row), note=note)
    _mail_person(row, is_approved=False, note=note)


def shown_at_sign_in(name: str) -> list[SignUp]:
    """Return the sign-ups for a name whose state a person with the password sees."""
    since = timezone.now() - REFUSAL_KEPT
    shown = Q(state=State.PENDING) | Q(state=State.REFUSED, decided_at__gt=since)
    rows = SignUp.objects.filter(shown, name=name).order_by("-pk")
    return list(rows[:MOST_FOR_A_NAME])


def words_for(row: SignUp) -> str:
    """Return what a person reads at sign-in who has no account yet."""
    if row.state == State.REFUSED:
        return f"Your sign-up was refused. {row.decision_note}".strip()
    return "Your sign-up was received, and nobody has decided about it yet."


def purge_sign_ups(now: datetime, most: int = 500) -> int:
    """Delete a batch of sign-ups that were decided long ago; return their number."""
    old = SignUp.objects.exclude(state=State.PENDING).filter(
        decided_at__lt=now - REFUSAL_KEPT
    )
    ids = list(old.order_by("pk").values_list("pk", flat=True)[:most])
    return delete_all(SignUp.objects.filter(pk__in=ids)) if ids else 0


def oddities_of(rows: Iterable[SignUp]) -> dict[int, str]:
    """Return notes for operators about the names of sign-ups, by id."""
    rows = list(rows)
    names = {row.name for row in rows}
    users = {user.name: user for user in User.objects.filter(is_named(names))}
    used = in_use(users.values())
    rights = names_with_rights()
    waiting: dict[str, int] = {}
    same = SignUp.objects.filter(is_named(names), state=State.PENDING)
    for name in same.values_list("name", flat=True):
        waiting[name] = waiting.get(name, 0) + 1
    found: dict[int, str] = {}
    for row in rows:
        said = []
        if row.state == State.PENDING:
            user = users.get(row.name)
            if user is not None and user.pk in used:
                said.append("somebody uses the account of this name")
            elif user is not None:
                said.append("gets the account of this name")
            if row.name in rights:
                said.append("the configuration gives rights to this name")
            if waiting.get(row.name, 0) > 1:
                said.append(f"{waiting[row.name]} people wait for this name")
        found[row.pk] = "; ".join(said)
    return found


def in_use(users: Iterable[User]) -> set[int]:
    """Return the ids of accounts in which somebody signs in, in whatever way."""
    users = list(users)
    ids = [user.pk for user in users]
    found = {user.pk for user in users if user.has_usable_password() or user.last_login}
    for model in (SocialAccount, Authenticator):
        owners = model._default_manager.filter(user__in=ids)
        found.update(owners.values_list("user_id", flat=True))
    return found


def _hub(by: Actor) -> Actor:
    return Actor("system", "sign-up", None, by.address)


def _check_rights(user: User, by: Actor, by_admin: bool) -> None:
    """Refuse to give away an account with rights beyond those of the operator."""
    leave_administrators_to_administrators(user, by, by_admin)
    if by_admin or by.kind != "user":
        return
    access = User.objects.get(name=by.name).access
    if not (
        access.allows("tokens", obj=user)
        and access.may_hand_out(user.scopes_beyond_role_user, "tokens", members_among)
    ):
        raise Forbidden(f"You may not approve a sign-up for the account {user.name}")


def _let_in(
    row: SignUp, user: User | None = None, *, by: Actor, by_admin: bool = False
) -> User:
    """Give the account of a sign-up its password; create the account if necessary."""
    if not lists_admit(row.name):
        raise Invalid(
            f"{row.name} may not sign in by the configuration: change blocked_users,"
            " allowed_users or allow_existing_users first"
        )
    _lock_waiting(row)
    if user is None:
        user = create_user(row.name, by=by, by_admin=by_admin)
    email = user.email or row.email
    User.objects.filter(pk=user.pk).update(password=row.password, email=email)
    user.password, user.email = row.password, email
    totp = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP)
    if row.totp and not totp.exists():
        Authenticator.objects.create(
            user=user, type=Authenticator.Type.TOTP, data={"secret": row.totp}
        )
    _decide(row, State.APPROVED, by=by)
    record(by, "sign_up.approve", "sign_up", str(row))
    for other in SignUp.objects.filter(name=row.name, state=State.PENDING):
        _decide(other, State.REFUSED, note=TAKEN, by=by)
        record(by, "sign_up.refuse", "sign_up", str(other))
        _mail_person(other, is_approved=False, note=TAKEN)
    _mail_person(row, is_approved=True)
    return user


def _lock_waiting(row: SignUp) -> SignUp | None:
    """Lock a sign-up, if it waits, with all others for the name that wait.

    They are decided together, and two operators may decide about two of them.
    """
    waiting = locked(SignUp.objects.filter(name=row.name, state=State.PENDING))
    return next((each for each in waiting if each.pk == row.pk), None)


def _decide(row: SignUp, state: State, *, note: str = "", by: Actor) -> None:
    """Store a decision, unless somebody else has decided; forget what has served."""
    now = timezone.now()
    columns: dict[str, Any] = {
        "state": state,
        "decided_at": now,
        "decided_by": by.label,
        "decision_note": note,
        "totp": "",
    }
    if state == State.APPROVED:
        columns["password"] = ""
    rows = SignUp.objects.filter(pk=row.pk, state=State.PENDING)
    if not rows.update(**columns):
        raise Conflict("This sign-up was decided meanwhile.")
    for name, value in columns.items():
        setattr(row, name, value)


# Mail


def tell_operators(row: SignUp) -> None:
    """Mail a sign-up to administrators, some within an hour."""
    to = list(
        administrators()
        .exclude(email="")
        .order_by("email")
        .values_list("email", flat=True)
        .distinct()[:MOST_MAILED]
    )
    if not to or not sends_mails() or requests_within("sign-up-mail", MAILS_AN_HOUR):
        return
    page = reverse("admin:accounts_signup_changelist")
    link = public_url(page) if settings.MAILS_LINKS else ""
    mail_about("accounts/email/sign_up_asked", {"sign_up": row, "link": link}, to)


def _mail_link(row: SignUp) -> None:
    context = {"sign_up": row, "link": public_url(link_for(row))}
    mail_about(
        "accounts/email/sign_up_link",
        context,
        [row.email],
        texts=settings.HUB.signup_mail,
        server=settings.HUB.signup_mail_server,
    )


def _mail_person(row: SignUp, *, is_approved: bool, note: str = "") -> None:
    if not row.email or not sends_mails():
        return
    link = public_url(reverse("account_login")) if settings.MAILS_LINKS else ""
    context = {"sign_up": row, "is_approved": is_approved, "note": note, "link": link}
    mail_about("accounts/email/sign_up_decided", context, [row.email])
