"""The exchange of a token for another one (RFC 8693), which can only narrow.

A *token of the hub* is exchanged for one of the same owner with at most the same scopes
and the same end. It is valid as long as its parent is unchanged: revoking, disabling,
freezing or narrowing the parent ends it (`tokens.models.TokenExchange`). Rotating the
parent ends it together with the earlier secret.

A *signed token of a CI* is exchanged for a token of the owner that a trusted publisher
names (`publishers.py`), once, for 15 minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from accounts.models import User
from audit.models import Actor
from database.batches import ROWS
from database.locks import delete_all, keep
from oauth.endpoint import answer, read_form
from oauth.models import SpentAssertion
from scopes.access import Identity, expand
from scopes.definitions import INHERIT
from scopes.grammar import check_scopes
from scopes.refusals import Busy, Invalid, Refusal
from services.models import Service
from tokens import clients
from tokens.actions.issuing import issue_token
from tokens.models import APIToken, CreatedVia, PreviousSecret, TokenExchange
from tokens.verification import Bearer, verify

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
SIGNED: Final = frozenset(
    {
        "urn:ietf:params:oauth:token-type:id_token",
        "urn:ietf:params:oauth:token-type:jwt",
    }
)
# Seconds that a token has unless its holder asks for others, and that one of a CI has.
USUAL_SECONDS: Final = 3_600
KEYLESS_SECONDS: Final = 900
# By which clocks may differ, with a reserve.
CLOCKS: Final = timedelta(minutes=5)


class InvalidTarget(errors.OAuth2Error):
    """RFC 8693, 2.2.2."""

    error = "invalid_target"


class NotNow(errors.OAuth2Error):
    """An issuer's keys can't be read."""

    error = "temporarily_unavailable"
    status_code = 503

    def __init__(self, refusal: Busy) -> None:
        super().__init__(refusal.message)
        self.retry_after = refusal.retry_after


@sensitive_variables()
def answer_exchange(request: HttpRequest) -> HttpResponse:
    """Exchange the subject token of a request."""
    asked = read_form(request)
    check_request(asked)
    scopes = None if asked.scope is None else asked.scope.split()
    seconds = read_seconds(request.POST.get("expires_in"))
    try:
        if asked.subject_token_type in SIGNED:
            token, secret = exchange_signed(asked, scopes, seconds)
        else:
            token, secret = exchange_own(asked, scopes, seconds)
    except Busy as refusal:
        raise NotNow(refusal) from None
    except Refusal as refusal:
        raise errors.InvalidGrantError(refusal.for_people) from None
    # Such a token always ends.
    left = cast(datetime, token.expires_at) - token.created
    return answer(
        {
            "access_token": secret,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": int(left.total_seconds()),
            "scope": " ".join(token.scopes),
        }
    )


def check_request(asked: Request) -> None:
    """Refuse what this hub does not know of RFC 8693."""
    for name in ("subject_token", "subject_token_type"):
        if not read(asked, name):
            raise errors.InvalidRequestError(f"Missing {name} parameter.")
    if asked.subject_token_type not in SIGNED | {ACCESS_TOKEN}:
        raise errors.InvalidRequestError("This subject_token_type is not supported.")
    if read(asked, "requested_token_type") not in ("", ACCESS_TOKEN):
        raise errors.InvalidRequestError("Only an access_token can be requested.")
    if read(asked, "actor_token") or read(asked, "actor_token_type"):
        raise errors.InvalidRequestError("An actor_token is not supported.")
    if read(asked, "resource") or read(asked, "audience"):
        raise InvalidTarget("Tokens are for this hub; name no resource or audience.")


def read(asked: Request, name: str) -> str:
    return getattr(asked, name, None) or ""


def read_seconds(text: str | None) -> int | None:
    """Return the lifetime that a request asks for, an addition to RFC 8693."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text)):
        raise errors.InvalidRequestError("expires_in is a number of seconds.")
    return int(text)


# Tokens of the hub


@sensitive_variables()
def exchange_own(
    asked: Request, scopes: list[str] | None, seconds: int | None
) -> tuple[APIToken, str]:
    """Exchange a token of the hub for a narrower one."""
    bearer = verify(asked.subject_token, asked.address)
    if bearer is None:
        raise errors.InvalidGrantError("The subject_token is not valid.")
    parent = APIToken.objects.select_related("user", "service").get(pk=bearer.token_id)
    if TokenExchange.objects.filter(token=parent).exclude(parent=None).exists():
        raise errors.InvalidGrantError(
            "The subject_token comes from an exchange itself; exchange the first token."
        )
    if parent.rate_limit is not None:
        # Many tokens together would exceed the limit.
        raise errors.InvalidGrantError(
            "The subject_token has a limit of requests, so it can't be exchanged."
        )
    scopes = list(parent.scopes) if scopes is None else narrow(bearer, parent, scopes)
    by = bearer.actor(asked.address)
    return issue_narrower(parent, scopes, seconds, public_id=bearer.public_id, by=by)


def narrow(bearer: Bearer, parent: APIToken, scopes: Sequence[str]) -> list[str]:
    """Return the scopes of a narrower token, or refuse those that its parent lacks.

    Memberships of others do not count: a token for a group covers none for a member,
    because the member may leave.
    """
    try:
        check_scopes(scopes)
    except Invalid as refusal:
        raise errors.InvalidScopeError(refusal.message) from None
    scopes = list(dict.fromkeys(scopes))
    inherits = INHERIT in parent.scopes
    client = clients.describe([parent.client_id])[parent.client_id].identity
    wanted = expand(
        [scope for scope in scopes if scope != INHERIT],
        Identity(bearer.owner_kind, bearer.owner_name),
        client,
    )
    if (INHERIT in scopes and not inherits) or bearer.access.lacking(wanted):
        raise errors.InvalidScopeError("The subject_token does not have these scopes.")
    return scopes


@transaction.atomic
@sensitive_variables("secret")
def issue_narrower(
    parent: APIToken,
    scopes: list[str],
    seconds: int | None,
    *,
    public_id: str,
    by: Actor,
    now: datetime | None = None,
) -> tuple[APIToken, str]:
    """Issue a token that depends on its parent; return it with its secret.

    `public_id` is that of the parent's secret that was presented, perhaps an earlier
    one: the token ends with that secret.
    """
    now = now or timezone.now()
    seconds = seconds or USUAL_SECONDS
    if parent.expires_at is not None:
        left = int((parent.expires_at - now).total_seconds())
        seconds = min(seconds, left)
        if seconds < 1:
            raise Invalid("The subject_token has expired.")
    owner = parent.owner
    keep(User if isinstance(owner, User) else Service, owner.pk)
    # A rotation at the same moment waits, or is waited for.
    keep(APIToken, parent.pk)
    token, secret = issue_token(
        owner,
        by=by,
        scopes=scopes,
        note=f"Exchanged for {parent}",
        expires_in=seconds,
        session_id=parent.session_id,
        client_id=parent.client_id,
        networks=parent.networks,
        via=CreatedVia.EXCHANGE,
        # The policy that approved the parent's scopes counts for a part of them.
        is_approved=True,
        now=now,
    )
    TokenExchange.objects.create(
        token=token, parent=parent, scopes=parent.scopes, networks=parent.networks
    )
    earlier = PreviousSecret.objects.filter(token=parent, public_id=public_id).first()
    if earlier is not None:
        if earlier.ends_at <= now:
            raise Invalid("The subject_token was replaced by a rotation.")
        if token.expires_at is None or token.expires_at > earlier.ends_at:
            token.expires_at = earlier.ends_at
            token.save(update_fields=["expires_at"])
    return token, secret


# Signed tokens of a CI


@sensitive_variables()
def exchange_signed(
    asked: Request, scopes: list[str] | None, seconds: int | None
) -> tuple[APIToken, str]:
    """Exchange a signed token by the rules of trusted publishers."""
    # Loaded when needed, because its libraries take memory and time.
    from oauth import publishers

    claims, rule = publishers.verify(asked.subject_token)
    owner = find_owner(rule)
    granted = rule["scopes"]
    if scopes is not None:
        granted = narrow_rule(owner, granted, scopes)
    sweep_assertions(timezone.now())
    with transaction.atomic():
        spend(claims, asked.subject_token)
        kind = "user" if isinstance(owner, User) else "service"
        token, secret = issue_token(
            owner,
            by=Actor(kind, owner.name, None, asked.address),
            scopes=granted,
            note=f"{rule.get('name') or rule['issuer']}: {claims['sub']}"[:1023],
            expires_in=min(seconds or KEYLESS_SECONDS, KEYLESS_SECONDS),
            via=CreatedVia.EXCHANGE,
        )
        TokenExchange.objects.create(token=token)
    return token, secret


def find_owner(rule: Mapping[str, Any]) -> User | Service:
    """Return the owner that a rule names, or refuse."""
    owner: User | Service | None
    if rule.get("user"):
        owner = User.objects.filter(name=rule["user"], is_active=True).first()
    else:
        owner = Service.objects.filter(name=rule["service"]).first()
    if owner is None:
        raise Invalid("The account of this trusted publisher does not exist here.")
    return owner


def narrow_rule(
    owner: User | Service, granted: Sequence[str], scopes: Sequence[str]
) -> list[str]:
    """Return the requested scopes, if a rule covers them."""
    rights = APIToken(
        **{"user" if isinstance(owner, User) else "service": owner},
        scopes=list(granted),
    ).access
    kind = "user" if isinstance(owner, User) else "service"
    try:
        check_scopes(scopes)
    except Invalid as refusal:
        raise errors.InvalidScopeError(refusal.message) from None
    wanted = expand(
        [scope for scope in scopes if scope != INHERIT], Identity(kind, owner.name)
    )
    if (INHERIT in scopes and INHERIT not in granted) or rights.lacking(wanted):
        raise errors.InvalidScopeError("The trusted publisher does not have these.")
    return list(dict.fromkeys(scopes))


def spend(claims: Mapping[str, Any], token: str) -> None:
    """Note that a signed token was used; a second use is refused.

    A token without an id is recognised by its text.
    """
    named = claims.get("jti")
    text = f"{claims['iss']}\0{named}" if named else token.rpartition(".")[0]
    handle = hashlib.sha256(text.encode()).hexdigest()
    expires_at = datetime.fromtimestamp(float(claims["exp"]), UTC)
    try:
        with transaction.atomic():
            SpentAssertion.objects.create(
                handle=handle,
                expires_at=expires_at + CLOCKS,
            )
    except IntegrityError:
        raise Invalid("This signed token was exchanged already.") from None


@transaction.atomic
def sweep_assertions(now: datetime) -> int:
    """Delete a batch of entries that are no longer needed; return the number."""
    over = SpentAssertion.objects.filter(expires_at__lte=now).order_by("pk")
    first = list(over.values_list("pk", flat=True)[:ROWS])
    return delete_all(SpentAssertion.objects.filter(pk__in=first)) if first else 0
