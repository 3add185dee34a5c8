"""What one caller may do with the tokens of another: shared by several views."""

from __future__ import annotations

from accounts.models import User
from accounts.rights import members_among
from api.base import APIRequest
from scopes.refusals import Forbidden
from services.models import Service
from tokens.models import APIToken
from tokens.networks import covers
from tokens.verification import Bearer

Limits = tuple[list[str] | None, int | None]


def is_owner(request: APIRequest, owner: User | Service) -> bool:
    by = request.actor
    kind = "user" if isinstance(owner, User) else "service"
    return (by.kind, by.name) == (kind, owner.name)


def may_issue(request: APIRequest, owner: User | Service) -> bool:
    """Return whether the caller could issue any token of this owner.

    A new secret, or more rights, in the hands of the caller are as good as a new token.
    """
    access = request.access
    if isinstance(owner, Service):
        return access.allows("tokens")
    return is_owner(request, owner) or access.may_hand_out(
        owner.scopes_beyond_role_user, "tokens", members_among
    )


def limits_of(token: APIToken | Bearer) -> Limits:
    """Return the networks and the requests in a minute to which a token is limited."""
    return token.networks, token.rate_limit


def is_wider(before: Limits, after: Limits) -> bool:
    """Return whether one of two limits was lifted or made wider."""
    (inner, rate), (outer, other) = before, after
    return not covers(inner, outer) or (
        rate is not None and (other is None or other > rate)
    )


def require_own_limits(
    request: APIRequest, owner: User | Service, limits: Limits, what: str
) -> None:
    """Refuse a limited token that would get around its limits by another one.

    A new token of the same owner gets the limits of the caller, so a new secret and
    lifted limits have to stay within these, too.
    """
    bearer = request.auth
    if bearer is None or not is_owner(request, owner):
        return
    if is_wider(limits_of(bearer), limits):
        raise Forbidden(
            "This token may be used from some networks or at some rate only, and"
            f" {what} would have wider limits: sign in, or use another token."
        )
