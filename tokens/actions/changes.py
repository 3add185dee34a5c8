"""Change a token that is in force: note, scopes, expiry, networks and rate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.rights import members_among
from audit.models import Actor
from scopes.access import Identity, expand
from scopes.definitions import INHERIT
from scopes.refusals import Invalid
from tokens import policy
from tokens.actions.acting_token import refuse_itself
from tokens.actions.recorded_changes import locked_token, set_columns
from tokens.actions.values import (
    check_expires_in,
    check_note,
    check_rate_limit,
    check_token_scopes,
    checked_scopes,
)
from tokens.models import APIToken
from tokens.networks import check_networks, covers


def rename_token(token: APIToken, note: str, *, by: Actor) -> APIToken:
    """Change the note of a token, which only people read."""
    check_note(note)
    with locked_token(token) as current:
        policy.check_note(policy.policy_for(current.owner), note)
        set_columns(current, by, "rename", note=note)
    return current


def narrow_token(token: APIToken, scopes: Sequence[str], *, by: Actor) -> APIToken:
    """Take scopes from a token; scopes beyond its present ones are refused."""
    scopes = checked_scopes(scopes)
    with locked_token(token) as current:
        beyond = _beyond(current, scopes)
        if beyond:
            raise Invalid(
                f"The token does not have {policy.named(beyond)}, and narrowing only"
                " takes scopes away."
            )
        set_columns(current, by, "narrow", scopes=scopes)
    return current


def change_scopes(
    token: APIToken, scopes: Sequence[str], *, by: Actor, is_approved: bool = False
) -> APIToken:
    """Give a token other scopes, narrower or wider ones.

    Wider ones follow the rules for a new token, and no token widens itself.
    """
    scopes = checked_scopes(scopes)
    with locked_token(token) as current:
        if not _beyond(current, scopes):
            set_columns(current, by, "narrow", scopes=scopes)
            return current
        refuse_itself(current, by, "give itself more scopes")
        owner = current.owner
        scopes = check_token_scopes(owner, scopes)
        rules = policy.policy_for(owner)
        policy.check_renewal(rules, current, scopes)
        policy.check_end(rules, current, current.expires_at)
        if not is_approved:
            policy.check_approval(rules, owner, scopes)
            scopes = policy.bounded(rules, owner, scopes)
        set_columns(current, by, "widen", scopes=scopes)
    return current


def extend_token(
    token: APIToken,
    expires_in: int | None,
    *,
    by: Actor,
    is_approved: bool = False,
    now: datetime | None = None,
) -> APIToken:
    """Let a token expire this many seconds from now, or never; sooner or later.

    A later end follows the rules for a new token, and no token extends itself. The
    whole life of the token counts, from its creation. `is_approved` says that an
    administrator approved the end.
    """
    now = now or timezone.now()
    with locked_token(token, now) as current:
        before = current.expires_at
        ends = _end_of(current, expires_in, now)
        if before is not None and (ends is None or ends > before):
            refuse_itself(current, by, "extend its own life")
            if expires_in is not None:
                lived = int((now - current.created).total_seconds())
                check_expires_in(lived + expires_in)
            rules = policy.policy_for(current.owner)
            scopes = current.scopes
            policy.check_renewal(rules, current, scopes)
            if not is_approved:
                policy.check_end(rules, current, ends)
                policy.check_approval(rules, current.owner, scopes)
                scopes = policy.bounded(rules, current.owner, scopes)
            set_columns(current, by, "narrow", scopes=scopes)
        set_columns(current, by, "extend", expires_at=ends, reminded_days=None)
    return current


def _end_of(token: APIToken, expires_in: int | None, now: datetime) -> datetime | None:
    """Return the end that somebody asks for; None as a life is the longest allowed."""
    seconds = check_expires_in(expires_in)
    if seconds is None:
        return None
    if expires_in is None and token.expires_at is not None:
        # Never sooner than before, which may be from a time with another maximum.
        return max(token.expires_at, token.created + timedelta(seconds=seconds))
    return now + timedelta(seconds=seconds)


def set_limits(
    token: APIToken,
    *,
    networks: Sequence[str] | None,
    rate_limit: int | None,
    by: Actor,
) -> APIToken:
    """Set from which networks, and how often in a minute, a token may be used.

    None lifts a limit. A token may limit itself, but not lift its limits.
    """
    allowed = check_networks(networks)
    rate_limit = check_rate_limit(rate_limit)
    with locked_token(token) as current:
        allowed = policy.check_networks(policy.policy_for(current.owner), allowed)
        before = current.rate_limit
        is_lifted = not covers(current.networks, allowed) or (
            before is not None and (rate_limit is None or rate_limit > before)
        )
        if is_lifted:
            refuse_itself(current, by, "lift its own limits")
        set_columns(current, by, "limit", networks=allowed, rate_limit=rate_limit)
    return current


def is_widened(token: APIToken, scopes: Sequence[str]) -> bool:
    """Return whether these scopes would give a token more than it has."""
    return bool(_beyond(token, checked_scopes(scopes)))


def _beyond(token: APIToken, scopes: list[str]) -> frozenset[str]:
    """Return the wanted scopes, expanded, that a token does not have."""
    if INHERIT in scopes:
        return frozenset() if INHERIT in token.scopes else frozenset({INHERIT})
    identity = Identity(token.owner_kind, token.owner.name)
    return token.access.lacking(expand(scopes, identity), members_among)
