"""Issue tokens: a new row and its secret, within the policy for the owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from audit.models import Actor
from database.statements import insert
from scopes.grammar import check_scopes
from services.models import Service
from tokens import digests, format, keys, notices, policy
from tokens.actions.acting_token import is_no_exchange, refuse_exchanged
from tokens.actions.number_limit import has_room, limit_refusal
from tokens.actions.values import (
    check_expires_in,
    check_note,
    check_rate_limit,
    check_token_scopes,
)
from tokens.models import APIToken, CreatedVia, Purpose
from tokens.networks import check_networks
from tokens.policy import Policy

# The SQL condition of a hub without policies.
NO_POLICIES = "NOT EXISTS (SELECT 1 FROM tokens_tokenpolicy)"

# Ways to a token about which owners get no notice.
UNNOTICED = (
    CreatedVia.SERVER,
    CreatedVia.SERVICE,
    CreatedVia.OAUTH,
    CreatedVia.CONFIG,
    CreatedVia.EXCHANGE,
)


def issue_token(
    owner: User | Service,
    *,
    by: Actor,
    scopes: Sequence[str] | None = None,
    note: str = "",
    usual_note: str = "",
    expires_in: int | None = None,
    session_id: str | None = None,
    client_id: str = "",
    via: CreatedVia = CreatedVia.API,
    purpose: Purpose | None = None,
    networks: Sequence[str] | None = None,
    rate_limit: int | None = None,
    is_approved: bool = False,
    capped: bool = True,
    limited: bool = True,
    now: datetime | None = None,
) -> tuple[APIToken, str]:
    """Store a token for `owner` and return it with its secret.

    The secret exists in the return value and nowhere else. Scopes that the owner lacks
    are refused, not dropped, so that a typo fails at once, and not as a puzzling 403
    next week. Tokens that end with something else, a server for instance, are not
    `capped` by the configured maximum. Tokens that the hub issues by itself are not
    `limited` in number. Scopes for an OAuth client were limited when they were granted,
    and are limited again at every use, because nobody would see a refusal there.

    The policy for the owner applies to all but tokens of servers and of the processes
    of services. A token for an OAuth client is made to fit it, because its user chose
    nothing. `is_approved` says that an administrator approved the scopes. `usual_note`
    is the note if nobody wrote one, which is refused where a policy requires a note.
    """
    now = now or timezone.now()
    asked = _Asked(
        scopes=scopes,
        note=note,
        usual_note=usual_note,
        expires_in=expires_in,
        networks=check_networks(networks),
        client_id=client_id,
        is_approved=is_approved,
        capped=capped,
    )
    tag_keys = keys.tag_keys()
    token = APIToken(
        tag_key=format.key_id(tag_keys[0]) if tag_keys else "",
        origin=APIToken.Origin.GENERATED,
        rate_limit=check_rate_limit(rate_limit),
        purpose=purpose or usual_purpose(owner, client_id, via),
        created_via=via,
        client_id=client_id,
        session_id=session_id,
        created=now,
    )
    _fit(token, owner, asked, policy.NO_POLICY)
    secret, token.public_id = format.generate(keys.prefix(), tag_keys)
    token.digest = digests.digest(secret, APIToken.Origin.GENERATED)
    token.fingerprint = digests.fingerprint(secret)
    counts = limited and not client_id

    def room(rules: Policy) -> tuple[str, list[Any]]:
        # A token of a further exchange ends with its parent.
        parts = [] if via == CreatedVia.EXCHANGE else [is_no_exchange(by)]
        if counts:
            parts.append(has_room(owner, now, rules))
        texts = [text for text, _ in parts if text]
        return " AND ".join(texts), [value for _, values in parts for value in values]

    with transaction.atomic():
        if via in (CreatedVia.SERVER, CreatedVia.SERVICE):
            is_stored = store_token(token, owner, by, room(policy.NO_POLICY))
            rules = policy.NO_POLICY
        else:
            # Most hubs have no policies: then this one statement is enough.
            text, values = room(policy.NO_POLICY)
            without = f"{text} AND {NO_POLICIES}" if text else NO_POLICIES
            is_stored = store_token(token, owner, by, (without, values))
            if not is_stored:
                rules = policy.policy_for(owner)
                _fit(token, owner, asked, rules)
                is_stored = store_token(token, owner, by, room(rules))
        if not is_stored:
            refuse_exchanged(by)
            raise limit_refusal(owner, rules)
        if via not in UNNOTICED:
            notices.note_created(token, by=by)
    return token, secret


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a new token, before its policy."""

    scopes: Sequence[str] | None
    note: str
    usual_note: str
    expires_in: int | None
    networks: list[str] | None
    client_id: str
    is_approved: bool
    capped: bool


def _fit(token: APIToken, owner: User | Service, asked: _Asked, rules: Policy) -> None:
    """Set what a policy limits in a new token, or refuse the token."""
    scopes, expires_in = asked.scopes, asked.expires_in
    if asked.client_id and scopes is not None:
        check_scopes(scopes)
        scopes = policy.within_ceiling(rules, owner, scopes)
    else:
        scopes = check_token_scopes(owner, scopes)
        policy.check_ceiling(rules, owner, scopes)
    check_note(asked.note)
    if expires_in is None and rules:
        usual = check_expires_in(None, capped=asked.capped)
        expires_in = policy.usual_expiry(rules, usual)
    expires_in = check_expires_in(expires_in, capped=asked.capped)
    if asked.client_id:
        expires_in = policy.least(expires_in, rules.max_expires_in)
    else:
        policy.check_note(rules, asked.note)
        policy.check_expiry(rules, expires_in)
        if not asked.is_approved:
            policy.check_approval(rules, owner, scopes)
            scopes = policy.bounded(rules, owner, scopes)
    life = None if expires_in is None else timedelta(seconds=expires_in)
    token.scopes = scopes
    token.note = asked.note or asked.usual_note
    token.expires_at = None if life is None else token.created + life
    token.networks = policy.check_networks(rules, asked.networks)


def usual_purpose(owner: User | Service, client_id: str, via: CreatedVia) -> Purpose:
    """Return what a token is for, as far as its owner and its way show that."""
    if client_id:
        return Purpose.CLIENT
    if isinstance(owner, Service):
        return Purpose.SERVICE
    by_hand = via in (CreatedVia.PAGE, CreatedVia.ADMIN)
    return Purpose.PERSON if by_hand else Purpose.PROGRAM


def store_token(
    token: APIToken,
    owner: User | Service,
    by: Actor,
    condition: tuple[str, list[Any]] = ("", []),
) -> bool:
    """Store a new token, if the condition in SQL holds; return whether it does."""
    if isinstance(owner, User):
        token.user = owner
    else:
        token.service = owner
    token.created_by, token.created_address = by.label, by.address
    if not insert(token, *condition):
        return False
    expires_at = token.expires_at
    record(
        by,
        "token.issue",
        "token",
        str(token),
        owner=owner.name,
        owner_kind=token.owner_kind,
        origin=token.origin,
        purpose=token.purpose,
        via=token.created_via,
        note=token.note,
        scopes=token.scopes,
        client_id=token.client_id,
        expires_at=None if expires_at is None else expires_at.isoformat(),
    )
    return True
