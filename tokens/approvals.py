"""Requests for tokens that an administrator has to approve.

A person asks, an administrator decides, and the person collects the token: its secret
exists in the response that collects it, and nowhere before. A request about an existing
token is carried out by the approval. Nobody decides about an own request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.administrators import administrators
from accounts.mail import deliver
from accounts.models import User
from accounts.rights import members_among
from audit.actions import record
from audit.models import Actor
from database.locks import keep
from scopes.access import Access
from scopes.definitions import INHERIT, NO_SCOPE
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from tokens import policy
from tokens.actions.changes import change_scopes, extend_token
from tokens.actions.issuing import issue_token
from tokens.actions.recorded_changes import locked_token
from tokens.actions.values import check_expires_in, check_note, check_token_scopes
from tokens.models import APIToken, CreatedVia, TokenRequest

State = TokenRequest.State

MAX_TEXT: Final = 1_023
# Requests of one person that wait for a decision.
MOST_PENDING: Final = 20
# Requests of one person within a day, because each is mailed to administrators.
MOST_A_DAY: Final = 40
# How long an approved token may be collected, and a decision is shown.
COLLECTED_WITHIN: Final = timedelta(days=30)
MOST_MAILED: Final = 50


@transaction.atomic
def ask(
    user: User,
    *,
    by: Actor,
    reason: str,
    scopes: Sequence[str] | None = None,
    note: str = "",
    expires_in: int | None = None,
    token: APIToken | None = None,
    via: CreatedVia = CreatedVia.API,
) -> TokenRequest:
    """Ask for a new token, or for wider scopes or a longer life of `token`.

    What the policy refuses without an approval is refused now: a note, a ceiling.
    """
    check_note(note)
    reason = _text(reason, "reason")
    if not reason:
        raise Invalid(
            "Write why you need the token, for the administrator who decides."
        )
    rules = policy.policy_for(user)
    wanted: list[str] | None
    if token is None:
        wanted = check_token_scopes(user, scopes)
        expires_in = check_expires_in(expires_in)
        policy.check_note(rules, note)
        if expires_in is not None or rules.default_expires_in is None:
            policy.check_expiry(rules, expires_in)
    else:
        if token.user_id != user.pk:
            raise NotFound("There is no such token.")
        if token.is_ended:
            raise Conflict("This token has been revoked or has expired.")
        expires_in = None if scopes is not None else check_expires_in(expires_in)
        wanted = None if scopes is None else check_token_scopes(user, scopes)
        policy.check_renewal(rules, token, token.scopes if wanted is None else wanted)
        if wanted is not None:
            policy.check_end(rules, token, token.expires_at)
    if wanted is not None:
        policy.check_ceiling(rules, user, wanted)
    pending = TokenRequest.objects.filter(user=user, state=State.PENDING)
    if pending.count() >= MOST_PENDING:
        raise Conflict(
            f"{MOST_PENDING} of your requests wait for a decision: withdraw one first."
        )
    day = timezone.now() - timedelta(days=1)
    asked = TokenRequest.objects.filter(user=user, created__gt=day)
    if asked.count() >= MOST_A_DAY:
        raise Conflict(
            f"You made {MOST_A_DAY} requests within a day, as many as are accepted:"
            " wait until tomorrow."
        )
    request = TokenRequest.objects.create(
        user=user,
        token=token,
        note=note,
        reason=reason,
        scopes=wanted,
        scopes_before=None if token is None or wanted is None else token.scopes,
        expires_in=expires_in,
        created_via=via,
        created_by=by.label,
        created_address=by.address,
    )
    _record(request, by, "ask", scopes=wanted, expires_in=expires_in, reason=reason)
    _mail("asked", request, administrators_except(user))
    return request


@transaction.atomic
def withdraw(request: TokenRequest, *, by: Actor) -> None:
    """Withdraw a request that waits for a decision, or was approved."""
    _move(request, (State.PENDING, State.APPROVED), State.WITHDRAWN)
    _record(request, by, "withdraw")


@transaction.atomic
def decide(
    request: TokenRequest,
    *,
    is_approved: bool,
    note: str = "",
    by: Actor,
    access: Access | None = None,
    now: datetime | None = None,
) -> None:
    """Approve or refuse a request, with a note for the person who asked.

    `access` are the rights of the caller, if they are not those of the user `by`.
    """
    now = now or timezone.now()
    note = _text(note, "note")
    user = request.user
    is_owner = by.kind == "user" and by.name == user.name
    # Also a request that was made for another account.
    if is_owner or (by.kind != "system" and by.label == request.created_by):
        raise Forbidden("Another administrator has to decide about your own request.")
    if is_approved:
        _check_rights(request, by, access)
    after = State.APPROVED if is_approved else State.REFUSED
    if is_approved and request.token is not None:
        # Before the row of the request is locked, see database/locks.py.
        if request.scopes is not None:
            with locked_token(request.token) as token:
                scopes = scopes_after(request, token)
                change_scopes(token, scopes, by=by, is_approved=True)
        else:
            extend_token(
                request.token, request.expires_in, by=by, now=now, is_approved=True
            )
        after = State.COLLECTED
    _move(
        *(request, (State.PENDING,), after),
        decided_at=now,
        decided_by=by.label,
        decision_note=note,
    )
    _record(request, by, "approve" if is_approved else "refuse", note=note)
    _mail("decided", request, [user.email] if user.is_active and user.email else [])


def scopes_after(request: TokenRequest, token: APIToken) -> list[str]:
    """Return the scopes of a token with the changes that a request asks for.

    The token may have changed since, by another approval or by its owner. So the
    request counts as the difference to the scopes that the token had then.
    """
    asked, before = request.scopes or [], request.scopes_before
    if before is None:
        return list(asked)
    removed, added = set(before) - set(asked), set(asked) - set(before)
    if added:
        removed.add(NO_SCOPE)
    kept = [scope for scope in token.scopes if scope not in removed]
    return list(dict.fromkeys([*kept, *(each for each in asked if each in added)]))


def _check_rights(request: TokenRequest, by: Actor, access: Access | None) -> None:
    """Refuse an approval of scopes that the approving person does not hold."""
    if access is None:
        if by.kind != "user":
            return
        access = User.objects.get(name=by.name).access
    rules = policy.policy_for(request.user)
    scopes = request.scopes
    if scopes is None:
        scopes = [INHERIT] if request.token is None else request.token.scopes
    powerful = policy.needing_approval(rules, request.user, scopes)
    lacking = access.lacking(powerful, members_among)
    if lacking:
        raise Forbidden(
            f"You do not hold {policy.named(lacking)} yourself, so somebody who does"
            " has to decide."
        )


@sensitive_variables("secret")
@transaction.atomic
def collect(
    request: TokenRequest,
    *,
    by: Actor,
    via: CreatedVia = CreatedVia.PAGE,
    now: datetime | None = None,
) -> tuple[APIToken, str]:
    """Issue the token of an approved request; return it with its secret.

    The scopes that the person lacks by now are refused, as are all other rules.
    """
    now = now or timezone.now()
    if request.state != State.APPROVED or request.token_id is not None:
        raise Conflict("There is no token to collect for this request.")
    if request.decided_at is None or request.decided_at <= now - COLLECTED_WITHIN:
        raise Conflict(
            f"The approval was more than {COLLECTED_WITHIN.days} days ago: ask again."
        )
    # The token has a foreign key to the user.
    keep(User, request.user_id)
    token, secret = issue_token(
        request.user,
        by=by,
        scopes=request.scopes,
        note=request.note,
        usual_note=f"Approved as {request}",
        expires_in=request.expires_in,
        networks=request.networks,
        rate_limit=request.rate_limit,
        via=via,
        is_approved=True,
        now=now,
    )
    _move(request, (State.APPROVED,), State.COLLECTED)
    return token, secret


def shown_to(user: User, now: datetime) -> list[TokenRequest]:
    """Return a person's requests that wait, and those that were decided lately."""
    requests = TokenRequest.objects.filter(user=user).select_related("token")
    waiting = requests.filter(state__in=(State.PENDING, State.APPROVED))
    lately = requests.filter(state=State.REFUSED, decided_at__gt=now - COLLECTED_WITHIN)
    return list((waiting | lately).order_by("-pk")[: 2 * MOST_PENDING])


def administrators_except(user: User) -> list[str]:
    """Return the addresses of administrators who may decide about a request."""
    others = administrators().exclude(pk=user.pk).exclude(email="")
    addresses = others.order_by("email").values_list("email", flat=True).distinct()
    return list(addresses[:MOST_MAILED])


def _text(text: Any, name: str) -> str:
    if not isinstance(text, str) or len(text) > MAX_TEXT or "\0" in text:
        raise Invalid(f"The {name} is a text of {MAX_TEXT} characters at most.")
    return text.strip()


def _move(
    request: TokenRequest, before: Sequence[State], after: State, **columns: Any
) -> None:
    """Change the state of a request, unless somebody else has changed it."""
    rows = TokenRequest.objects.filter(pk=request.pk, state__in=before)
    if not rows.update(state=after, **columns):
        raise Conflict("This request was decided, collected or withdrawn meanwhile.")
    for name, value in {"state": after, **columns}.items():
        setattr(request, name, value)


def _record(request: TokenRequest, by: Actor, act: str, **detail: Any) -> None:
    about = {"owner": request.user.name, "on": str(request.token or "")}
    record(by, f"request.{act}", "request", str(request), **about, **detail)


def _mail(about: str, request: TokenRequest, to: list[str]) -> None:
    """Send a mail about a request, once the transaction has ended."""
    if not to or settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        return
    address = settings.PUBLIC_URL if settings.MAILS_LINKS else ""
    page = f"admin/tokens/tokenrequest/{request.pk}/change/"
    context = {
        "request": request,
        "site_name": settings.SITE_NAME or "Hub",
        "is_approved": request.state in (State.APPROVED, State.COLLECTED),
        "link": f"{address.rstrip('/')}/hub/{page if about == 'asked' else 'token'}"
        if address
        else "",
    }
    subject = render_to_string(f"tokens/email/request_{about}_subject.txt", context)
    body = render_to_string(f"tokens/email/request_{about}_message.txt", context)
    # Each recipient sees only their own address.
    message = EmailMessage(
        " ".join(subject.split()), body.strip() + "\n", to=to[:1], bcc=to[1:]
    )
    transaction.on_commit(partial(deliver, message), robust=True)
