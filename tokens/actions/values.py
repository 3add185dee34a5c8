"""Check the values of a token: scopes, lifetime, rate limit and note."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.conf import settings

from accounts.models import User
from accounts.rights import members_among
from scopes.access import Identity, expand
from scopes.definitions import INHERIT
from scopes.grammar import check_count, check_scopes
from scopes.refusals import Invalid
from services.models import Service

MAX_NOTE_LENGTH = 1023

# A century; a later end is refused.
MAX_EXPIRES_IN = 100 * 365 * 86_400

# Most scopes in the message of a refusal.
MOST_NAMED = 100

# Requests in a minute that a limit may allow; more is as good as none.
HIGHEST_RATE = 1_000_000


def check_token_scopes(owner: User | Service, scopes: Any) -> list[str]:
    """Return the raw scopes of a new token of `owner`, or refuse them."""
    if scopes is None:
        return [INHERIT]
    scopes = checked_scopes(scopes, expected="a list of strings or null")
    kind = "user" if isinstance(owner, User) else "service"
    identity = Identity(kind, owner.name)
    beyond = owner.access.lacking(expand(scopes, identity), members_among)
    if beyond:
        written = [
            scope
            for scope in dict.fromkeys(scopes)
            if not beyond.isdisjoint(expand([scope], identity))
        ]
        raise Invalid(
            f"Not assigning requested scopes {_listed(beyond)}"
            f" not held by {kind.title()} {owner.name}",
            on_pages="A token can't have rights that its owner lacks: "
            f"{_listed(written)}",
        )
    return scopes


def _listed(scopes: Collection[str]) -> str:
    named = ",".join(sorted(scopes)[:MOST_NAMED])
    more = len(scopes) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def check_expires_in(expires_in: Any, *, capped: bool = True) -> int | None:
    """Return a token's lifetime in seconds, or refuse it; None is without end."""
    maximum = settings.HUB.token_expires_in_max_seconds if capped else 0
    if expires_in is None:
        return maximum or None
    if isinstance(expires_in, bool) or not isinstance(expires_in, int):
        raise Invalid(f"token expires_in must be null or integer, not {expires_in!r}")
    if expires_in < 1:
        raise Invalid(
            f"expires_in must be a positive integer or null, not {expires_in}"
        )
    limit = maximum or MAX_EXPIRES_IN
    if expires_in > limit:
        raise Invalid(f"token expires_in: {expires_in} must not exceed {limit}")
    return expires_in


def check_rate_limit(rate_limit: Any) -> int | None:
    """Return the requests that a token may make in a minute; None is no limit."""
    if rate_limit is None:
        return None
    if isinstance(rate_limit, bool) or not isinstance(rate_limit, int):
        raise Invalid("rate_limit must be null or a number of requests in a minute")
    if not 1 <= rate_limit <= HIGHEST_RATE:
        raise Invalid(f"rate_limit must be from 1 to {HIGHEST_RATE} or null")
    return rate_limit


def check_note(note: Any) -> None:
    """Refuse a value that can't be a note."""
    if not isinstance(note, str):
        raise Invalid("token note must be a string or null")
    if len(note) > MAX_NOTE_LENGTH:
        raise Invalid(f"token note must not exceed {MAX_NOTE_LENGTH} characters")
    if "\0" in note:
        raise Invalid("token note must not hold a NUL character")


def checked_scopes(scopes: Any, expected: str = "a list of strings") -> list[str]:
    """Return raw scopes, each once, or refuse a value that is no list of scopes."""
    if isinstance(scopes, list | tuple):
        check_count(scopes)
    if not isinstance(scopes, list | tuple) or not all(
        isinstance(scope, str) for scope in scopes
    ):
        raise Invalid(f"token scopes must be {expected}")
    check_scopes(scopes)
    return list(dict.fromkeys(scopes))
