"""Actions on tokens: issue, import, change, rotate, disable, revoke and purge.

Each change of a token is one function here, which records it in the audit log. The
policy for the owner is asked here, too, so that no way to a token leads around it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import Role, User
from accounts.rights import members_among
from audit.actions import record
from audit.models import Actor
from database.batches import batches, in_batches
from database.locks import delete_all, locked
from database.statements import insert
from scopes.access import Identity, expand
from scopes.definitions import INHERIT
from scopes.grammar import check_count, check_scopes
from scopes.refusals import Conflict, Forbidden, Invalid
from services.models import Service
from tokens import digests, format, imported, keys, notices, policy
from tokens.models import (
    APIToken,
    CreatedVia,
    PreviousSecret,
    Purpose,
    TokenExchange,
    TokenNotice,
)
from tokens.networks import check_networks, covers
from tokens.policy import Policy

MAX_NOTE_LENGTH = 1023
# A century; a later end is refused.
MAX_EXPIRES_IN = 100 * 365 * 86_400

# Tokens that one transaction deletes, so that other writers wait briefly.
MOST_PURGED = 500

# Most scopes in the message of a refusal.
MOST_NAMED = 100

# The SQL condition of a hub without policies.
NO_POLICIES = "NOT EXISTS (SELECT 1 FROM tokens_tokenpolicy)"

# Seconds for which the earlier secret stays valid after a rotation.
USUAL_OVERLAP = 86_400
LONGEST_OVERLAP = 30 * 86_400
MAX_ROTATION_KEY_LENGTH = 255
# Earlier secrets of a token that are known; the use of still older ones is no alarm.
MOST_EARLIER = 50
# Requests in a minute that a limit may allow; more is as good as none.
HIGHEST_RATE = 1_000_000

# Changes of which owners are told, and ways to tokens of which they are not.
NOTICES = {
    "disable": TokenNotice.Kind.DISABLED,
    "freeze": TokenNotice.Kind.FROZEN,
}
UNNOTICED = (
    CreatedVia.SERVER,
    CreatedVia.SERVICE,
    CreatedVia.OAUTH,
    CreatedVia.CONFIG,
    CreatedVia.EXCHANGE,
)

# The label of the hub as an actor, for instance of an alarm.
THE_HUB = Actor.system("").label
OF_OTHERS = (
    "Somebody else has {done} this token: ask the person who did, or an administrator."
)

# JupyterHub accepts supplied tokens from this length on.
MIN_IMPORTED_LENGTH = 8


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
    counts = limited and not client_id and isinstance(owner, User)

    def room(rules: Policy) -> tuple[str, list[Any]]:
        # A token of a further exchange ends with its parent.
        parts = [] if via == CreatedVia.EXCHANGE else [_is_no_exchange(by)]
        if counts:
            parts.append(has_room(cast(User, owner), now, rules))
        texts = [text for text, _ in parts if text]
        return " AND ".join(texts), [value for _, values in parts for value in values]

    with transaction.atomic():
        if via in (CreatedVia.SERVER, CreatedVia.SERVICE):
            is_stored = _store(token, owner, by, room(policy.NO_POLICY))
            rules = policy.NO_POLICY
        else:
            # Most hubs have no policies: then this one statement is enough.
            text, values = room(policy.NO_POLICY)
            without = f"{text} AND {NO_POLICIES}" if text else NO_POLICIES
            is_stored = _store(token, owner, by, (without, values))
            if not is_stored:
                rules = policy.policy_for(owner)
                _fit(token, owner, asked, rules)
                is_stored = _store(token, owner, by, room(rules))
        if not is_stored:
            _refuse_exchanged(by)
            # The limit applies to users only.
            raise _full(cast(User, owner), rules)
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


def has_room(
    user: User, now: datetime, rules: Policy | None = None
) -> tuple[str, list[Any]]:
    """Return the condition, in SQL, under which a user may have one more token.

    Tokens that the hub issued by itself, for servers and OAuth clients, are not
    counted, and neither are those of the configuration. The condition is part of the
    statement that stores the token, so that two requests at once are both counted.
    """
    limit = limit_of(user, rules)
    if limit is None:
        return "", []
    # No more rows than the limit are read, however many there are.
    condition = (
        "(SELECT count(*) FROM (SELECT 1 FROM tokens_apitoken h"
        " WHERE h.user_id = %s AND h.purpose IN ('person', 'program', '')"
        " AND h.revoked_at IS NULL"
        " AND (h.expires_at IS NULL OR h.expires_at > %s) LIMIT %s) held) < %s"
    )
    moment = connection.ops.adapt_datetimefield_value(now)
    return condition, [user.pk, moment, limit, limit]


def _full(user: User, rules: Policy) -> Conflict:
    limit = limit_of(user, rules)
    if limit is not None and limit == rules.max_tokens:
        return Conflict(
            f"User {user.name} has {limit} active tokens, as many as allowed by"
            f" {rules.source}: revoke some that are not needed, or use one of them."
        )
    return Conflict(
        f"User {user.name} has {limit} active tokens, as many as one user"
        " may have: revoke some that are not needed, or use one of them. An"
        " administrator can raise the limit (c.Hub.token_limit_per_user)."
    )


def limit_of(user: User, rules: Policy | None = None) -> int | None:
    """Return the number of tokens that a user may have; None means no limit.

    Of the limits of the configuration the highest applies, and beyond that the policy.
    """
    configured = _configured_limit(user) or None
    return policy.least(configured, None if rules is None else rules.max_tokens)


def _configured_limit(user: User) -> int:
    """Return the highest limit that applies to a user; 0 means no limit."""
    hub = settings.HUB
    limits = [hub.token_limit_per_user]
    if hub.token_limits_by_role:
        held = Role.objects.filter(Q(users=user) | Q(groups__users=user))
        names = held.filter(name__in=hub.token_limits_by_role).values_list("name")
        limits += [hub.token_limits_by_role[name] for (name,) in names]
    return 0 if 0 in limits else max(limits)


def import_token(
    owner: User | Service,
    secret: str,
    *,
    note: str = "",
    scopes: Sequence[str] = (INHERIT,),
    via: CreatedVia = CreatedVia.CONFIG,
    purpose: Purpose | None = None,
    by: Actor,
) -> APIToken:
    """Import `secret` as a token of `owner`, without end and with all the owner's
    rights.

    A hub that keeps a secret for somebody may limit it to `scopes`.

    A known secret is not changed: it keeps its owner and stays revoked if it was
    revoked.
    """
    check_imported_secret(secret)
    check_note(note)
    _refuse_exchanged(by)
    if format.is_ours(secret):
        return _find_generated(secret)
    public_id = format.lookup_key(secret, keys.lookup_hash_key())
    known = _known(public_id)
    if known is None and imported.claim(secret):
        known = _known(public_id)
    if known is not None:
        return known
    is_service = isinstance(owner, Service)
    token = APIToken(
        public_id=public_id,
        digest=digests.digest(secret, APIToken.Origin.IMPORTED),
        fingerprint=digests.fingerprint(secret),
        origin=APIToken.Origin.IMPORTED,
        note=note,
        scopes=list(scopes),
        purpose=purpose or (Purpose.SERVICE if is_service else Purpose.IMPORT),
        created_via=via,
    )
    try:
        with transaction.atomic():
            _store(token, owner, by)
    except IntegrityError:
        # Another process stored the same secret in the meantime.
        return APIToken.objects.get(public_id=public_id)
    return token


@transaction.atomic
def revoke_token(token: APIToken, *, by: Actor, now: datetime | None = None) -> int:
    """Revoke a token that a person selected; return the number of revoked tokens.

    A token of an OAuth client is revoked together with all tokens that the client has
    for the same owner, because the client would use another one.
    """
    now = now or timezone.now()
    if token.client_id:
        obtained = APIToken.objects.filter(
            client_id=token.client_id, user=token.user_id, service=token.service_id
        )
        return _change(
            obtained.filter(revoked_at=None),
            by,
            "revoke",
            revoked_at=now,
            revoked_by=by.label,
        )
    # Written as SQL, because composing this statement costs as much as all the rest.
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_apitoken SET revoked_at = %s, revoked_by = %s"
            " WHERE id = %s AND revoked_at IS NULL",
            [connection.ops.adapt_datetimefield_value(now), by.label, token.pk],
        )
        revoked: int = cursor.rowcount
    if revoked:
        record(by, "token.revoke", "token", str(token), tokens=[str(token)])
    return revoked


@transaction.atomic
def revoke_tokens(
    tokens: QuerySet[APIToken],
    *,
    by: Actor,
    now: datetime | None = None,
    expires: bool = False,
) -> int:
    """Revoke exactly these tokens, in one transaction; return their number.

    This is for tokens that end together with something else, a session for instance.
    For tokens that a person selected use `remove_tokens`. Tokens that expire as well
    are deleted by the next purge.
    """
    # The ids are read first: PostgreSQL may join a queryset with itself row by row
    # while it has no statistics yet, which took minutes for a thousand tokens.
    chosen = tokens.filter(revoked_at=None).order_by().values_list("pk", flat=True)
    now = now or timezone.now()
    revoked = 0
    for ids in batches(sorted(chosen), MOST_PURGED):
        doomed = APIToken.objects.filter(pk__in=ids, revoked_at=None)
        ended: dict[str, datetime | str | None] = {
            "revoked_at": now,
            "revoked_by": by.label,
        }
        if expires:
            # In the same UPDATE: PostgreSQL checks all foreign keys of a row that a
            # transaction changes twice, which locks the owners out of order.
            ended["expires_at"] = now
        revoked += _change(doomed, by, "revoke", **ended)
    return revoked


def remove_tokens(
    tokens: QuerySet[APIToken], *, by: Actor, now: datetime | None = None
) -> int:
    """Revoke these tokens in batches, each like `revoke_token`; return the number."""
    picked = APIToken.objects.filter(pk__in=tokens.order_by().values("pk"))
    obtained = picked.exclude(client_id="")
    if obtained.exists():
        beside = obtained.filter(client_id=OuterRef("client_id"))
        picked = APIToken.objects.filter(
            Q(pk__in=picked.values("pk"))
            | Q(
                Exists(beside.filter(user=OuterRef("user")))
                | Exists(beside.filter(service=OuterRef("service"))),
                client_id__in=obtained.values("client_id"),
            )
        )
    now = now or timezone.now()
    in_force = Q(revoked_at=None)
    return _change_in_batches(
        picked, in_force, by, "revoke", revoked_at=now, revoked_by=by.label
    )


def rename_token(token: APIToken, note: str, *, by: Actor) -> APIToken:
    """Change the note of a token, which only people read."""
    check_note(note)
    with _changing(token) as current:
        policy.check_note(policy.policy_for(current.owner), note)
        _set(current, by, "rename", note=note)
    return current


def narrow_token(token: APIToken, scopes: Sequence[str], *, by: Actor) -> APIToken:
    """Take scopes from a token; scopes beyond its present ones are refused."""
    scopes = _checked_scopes(scopes)
    with _changing(token) as current:
        beyond = _beyond(current, scopes)
        if beyond:
            raise Invalid(
                f"The token does not have {policy.named(beyond)}, and narrowing only"
                " takes scopes away."
            )
        _set(current, by, "narrow", scopes=scopes)
    return current


def change_scopes(
    token: APIToken, scopes: Sequence[str], *, by: Actor, is_approved: bool = False
) -> APIToken:
    """Give a token other scopes, narrower or wider ones.

    Wider ones follow the rules for a new token, and no token widens itself.
    """
    scopes = _checked_scopes(scopes)
    with _changing(token) as current:
        if not _beyond(current, scopes):
            _set(current, by, "narrow", scopes=scopes)
            return current
        _refuse_itself(current, by, "give itself more scopes")
        owner = current.owner
        scopes = check_token_scopes(owner, scopes)
        rules = policy.policy_for(owner)
        policy.check_ceiling(rules, owner, scopes)
        if not is_approved:
            policy.check_approval(rules, owner, scopes)
            scopes = policy.bounded(rules, owner, scopes)
        _set(current, by, "widen", scopes=scopes)
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
    whole life of the token counts, from its creation.
    """
    now = now or timezone.now()
    with _changing(token, now) as current:
        expires_in = check_expires_in(expires_in)
        ends = None if expires_in is None else now + timedelta(seconds=expires_in)
        before = current.expires_at
        if before is not None and (ends is None or ends > before):
            _refuse_itself(current, by, "extend its own life")
            lived = int((now - current.created).total_seconds())
            life = None if expires_in is None else lived + expires_in
            if not is_approved:
                policy.check_expiry(policy.policy_for(current.owner), life)
        _set(current, by, "extend", expires_at=ends, reminded_days=None)
    return current


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
    with _changing(token) as current:
        allowed = policy.check_networks(policy.policy_for(current.owner), allowed)
        before = current.rate_limit
        is_lifted = not covers(current.networks, allowed) or (
            before is not None and (rate_limit is None or rate_limit > before)
        )
        if is_lifted:
            _refuse_itself(current, by, "lift its own limits")
        _set(current, by, "limit", networks=allowed, rate_limit=rate_limit)
    return current


@sensitive_variables("secret", "seed", "key")
def rotate_token(
    token: APIToken,
    *,
    by: Actor,
    overlap: int = USUAL_OVERLAP,
    key: str = "",
    freezes: bool = False,
    now: datetime | None = None,
) -> tuple[APIToken, str]:
    """Give a token a new secret; return both.

    The earlier secret stays valid for `overlap` seconds. Its later use raises an alarm
    and, if so wished, `freezes` the token. Tokens that were exchanged for this one end
    with the earlier secret. Id, scopes and history stay.

    A repeated call with the same idempotency `key` returns the same new secret, and
    changes nothing: a program that lost the response repeats its call without danger.
    The secret is made of the key and of a key of the hub, and is not stored for that.
    """
    if isinstance(overlap, bool) or not isinstance(overlap, int):
        raise Invalid("overlap must be a number of seconds")
    if not 0 <= overlap <= LONGEST_OVERLAP:
        raise Invalid(f"overlap must be from 0 to {LONGEST_OVERLAP} seconds")
    if not isinstance(key, str) or len(key) > MAX_ROTATION_KEY_LENGTH:
        raise Invalid(
            f"An idempotency key is a text of {MAX_ROTATION_KEY_LENGTH} characters at"
            " most"
        )
    now = now or timezone.now()
    tag_keys = keys.tag_keys()
    _refuse_exchanged(by)
    with _changing(token, now) as current:
        if current.purpose in (Purpose.SERVER, Purpose.CLIENT):
            raise Conflict(
                "This token can't be rotated, because its program could not be told the"
                " new secret: it ends with its server or its sign-in."
            )
        rotation_key = digests.keyed(keys.derived("rotation key"), key) if key else ""
        if rotation_key:
            first = current.previous_secrets.filter(rotation_key=rotation_key).first()
            if first is not None:
                return current, _same_secret(current, first, key)
        seed = _seed(current.pk, current.public_id, key) if key else b""
        secret, public_id = format.generate(keys.prefix(), tag_keys, seed=seed)
        ends_at = now + timedelta(seconds=overlap)
        _make_room(current, now)
        # A shorter overlap applies to still earlier secrets, too.
        current.previous_secrets.filter(ends_at__gt=ends_at).update(ends_at=ends_at)
        PreviousSecret.objects.create(
            token=current,
            public_id=current.public_id,
            digest=current.digest,
            imported_prefix=current.imported_prefix,
            origin=current.origin,
            tag_key=current.tag_key,
            fingerprint=current.fingerprint,
            replaced_at=now,
            replaced_by=by.label,
            ends_at=ends_at,
            freezes=freezes,
            rotation_key=rotation_key,
        )
        changed = {
            "public_id": public_id,
            "digest": digests.digest(secret, APIToken.Origin.GENERATED),
            "imported_prefix": "",
            "origin": APIToken.Origin.GENERATED,
            "tag_key": format.key_id(tag_keys[0]) if tag_keys else "",
            "fingerprint": digests.fingerprint(secret),
            "rotated_at": now,
        }
        for name, value in changed.items():
            setattr(current, name, value)
        current.save(update_fields=list(changed))
        # What was exchanged for the earlier secret ends with that secret at the latest.
        exchanged = APIToken.objects.filter(exchange__parent=current)
        longer = exchanged.filter(Q(expires_at=None) | Q(expires_at__gt=ends_at))
        ids = list(locked(longer).values_list("pk", flat=True))
        APIToken.objects.filter(pk__in=ids).update(expires_at=ends_at)
        record(
            by,
            "token.rotate",
            "token",
            str(current),
            names=[str(current)],
            overlap=overlap,
            freezes=freezes,
        )
    return current, secret


def _make_room(token: APIToken, now: datetime) -> None:
    """Delete the oldest earlier secrets beyond the limit; their use is no alarm then.

    Secrets that still work are not deleted.
    """
    earlier = token.previous_secrets.order_by("-pk")
    oldest = list(earlier.values_list("pk", "ends_at")[MOST_EARLIER - 1 :])
    if any(ends_at > now for _, ends_at in oldest):
        raise Conflict(
            f"{MOST_EARLIER} earlier secrets of this token still work: rotate it with a"
            " shorter overlap, which ends them."
        )
    PreviousSecret.objects.filter(pk__in=[pk for pk, _ in oldest]).delete()


@transaction.atomic
def end_earlier_secret(
    secret: PreviousSecret, *, by: Actor, now: datetime | None = None
) -> bool:
    """End an earlier secret before its overlap ends; tell whether that changed it.

    The token stays valid with its current secret. Tokens that the holder of the earlier
    one may have got by an exchange end with it.
    """
    now = now or timezone.now()
    token = locked(APIToken.objects.filter(pk=secret.token_id)).first()
    current = PreviousSecret.objects.filter(pk=secret.pk, ends_at__gt=now).first()
    if token is None or current is None:
        return False
    exchanged = APIToken.objects.filter(
        exchange__parent=token, expires_at__lte=current.ends_at
    )
    revoke_tokens(exchanged, by=by, now=now)
    PreviousSecret.objects.filter(pk=current.pk).update(ends_at=now)
    name = str(token)
    record(by, "token.end_secret", "token", name, names=[name])
    return True


@sensitive_variables("secret", "key")
def _same_secret(token: APIToken, first: PreviousSecret, key: str) -> str:
    """Return the secret that the first call with a key returned."""
    seed = _seed(token.pk, first.public_id, key)
    secret, _ = format.generate(
        keys.prefix(), keys.tag_keys(), seed=seed, public_id=token.public_id
    )
    if not digests.matches(secret, token.digest):
        raise Conflict(
            "This rotation was made already, and the token was rotated again since, or"
            " the hub has other keys now. Rotate it with another idempotency key."
        )
    return secret


def _seed(pk: int, public_id: str, key: str) -> bytes:
    text = f"{pk} {public_id} {key}"
    return hmac.digest(keys.derived("rotation"), text.encode(), "sha256")


def freeze_tokens(
    tokens: QuerySet[APIToken], *, by: Actor, reason: str, now: datetime | None = None
) -> int:
    """Freeze these tokens after an alarm; return the number of changes.

    A frozen token works again once a person has looked into the matter.
    """
    running = Q(frozen_at=None, revoked_at=None)
    now = now or timezone.now()
    return _change_in_batches(
        tokens,
        running,
        by,
        "freeze",
        frozen_at=now,
        frozen_by=by.label,
        frozen_reason=reason[:300],
    )


def unfreeze_tokens(tokens: QuerySet[APIToken], *, by: Actor) -> int:
    """End the freeze of these tokens; return the number of changes.

    Owners look into alarms of the hub themselves. They do not unfreeze what another
    person froze.
    """
    _refuse_among(tokens, by, "unfreeze itself")
    frozen = Q(frozen_at__isnull=False, revoked_at=None)
    by_others = _owned_by(by) & ~Q(frozen_by__in=("", by.label, THE_HUB))
    changed = _change_in_batches(
        tokens,
        frozen & ~by_others,
        by,
        "unfreeze",
        frozen_at=None,
        frozen_by="",
        frozen_reason="",
    )
    if not changed and tokens.filter(frozen & by_others).exists():
        raise Forbidden(OF_OTHERS.format(done="frozen"))
    return changed


def disable_tokens(
    tokens: QuerySet[APIToken], *, by: Actor, now: datetime | None = None
) -> int:
    """Disable these tokens until they are enabled again; return the number of changes.

    The changes are made in batches.
    """
    running = Q(disabled_at=None, revoked_at=None)
    now = now or timezone.now()
    return _change_in_batches(
        tokens, running, by, "disable", disabled_at=now, disabled_by=by.label
    )


def enable_tokens(tokens: QuerySet[APIToken], *, by: Actor) -> int:
    """Enable these tokens, in batches; return the number of changes.

    Owners do not enable what somebody else disabled.
    """
    _refuse_among(tokens, by, "enable itself")
    paused = Q(disabled_at__isnull=False, revoked_at=None)
    by_others = _owned_by(by) & ~Q(disabled_by__in=("", by.label))
    changed = _change_in_batches(
        tokens, paused & ~by_others, by, "enable", disabled_at=None, disabled_by=""
    )
    if not changed and tokens.filter(paused & by_others).exists():
        raise Forbidden(OF_OTHERS.format(done="disabled"))
    return changed


@transaction.atomic
def purge_expired(
    now: datetime | None = None, *, by: Actor | None = None, most: int = MOST_PURGED
) -> int:
    """Delete a batch of tokens that ended long ago; return their number.

    To delete all of them, call this until the result is 0.
    """
    expired = APIToken.objects.to_purge(now or timezone.now())
    oldest = list(expired.order_by("pk").values_list("pk", flat=True)[:most])
    if oldest:
        delete_all(APIToken.objects.filter(pk__in=oldest))
        by = by or Actor.system("purge")
        purged = [f"a{pk}" for pk in oldest]
        record(by, "token.expire", "token", _only(purged), names=purged)
    return len(oldest)


def check_token_scopes(owner: User | Service, scopes: Any) -> list[str]:
    """Return the raw scopes of a new token of `owner`, or refuse them."""
    if scopes is None:
        return [INHERIT]
    if isinstance(scopes, list | tuple):
        check_count(scopes)
    if not isinstance(scopes, list | tuple) or not all(
        isinstance(scope, str) for scope in scopes
    ):
        raise Invalid("token scopes must be a list of strings or null")
    check_scopes(scopes)
    kind = "user" if isinstance(owner, User) else "service"
    wanted = expand(scopes, Identity(kind, owner.name))
    beyond = owner.access.lacking(wanted, members_among)
    if beyond:
        raise Invalid(
            f"Not assigning requested scopes {_listed(beyond)}"
            f" not held by {kind.title()} {owner.name}"
        )
    return list(dict.fromkeys(scopes))


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


def check_imported_secret(secret: Any) -> None:
    """Refuse a value that can't be a token, without repeating it."""
    if not isinstance(secret, str) or not re.fullmatch(r"[!-~]+", secret):
        raise Invalid(
            "A token consists of letters, digits and signs of ASCII, without blanks."
            " `openssl rand -hex 32` makes a good one."
        )
    if not MIN_IMPORTED_LENGTH <= len(secret) <= format.MAX_LENGTH:
        raise Invalid(
            f"A token of {len(secret)} characters is not accepted: it needs at least"
            f" {MIN_IMPORTED_LENGTH} and at most {format.MAX_LENGTH}."
            " `openssl rand -hex 32` makes a good one."
        )


def _store(
    token: APIToken,
    owner: User | Service,
    by: Actor,
    condition: tuple[str, list[Any]] = ("", []),
) -> bool:
    """Store a new token, if the condition in SQL holds; tell whether it does."""
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


@contextmanager
def _changing(token: APIToken, now: datetime | None = None) -> Iterator[APIToken]:
    """Lock a token that is in force, in a transaction; give its present row."""
    with transaction.atomic():
        rows = APIToken.objects.select_related("user", "service").filter(pk=token.pk)
        current = locked(rows.active(now or timezone.now())).first()
        if current is None:
            raise Conflict("This token has been revoked or has expired.")
        yield current


def _set(token: APIToken, by: Actor, act: str, **columns: Any) -> None:
    """Set columns of one token and record the change with the values before."""
    changed = {
        name: value for name, value in columns.items() if getattr(token, name) != value
    }
    if not changed:
        return
    before = {name: getattr(token, name) for name in changed}
    for name, value in changed.items():
        setattr(token, name, value)
    token.save(update_fields=list(changed))
    record(
        by,
        f"token.{act}",
        "token",
        str(token),
        names=[str(token)],
        before=before,
        after=changed,
    )


def _checked_scopes(scopes: Any) -> list[str]:
    if not isinstance(scopes, list | tuple) or not all(
        isinstance(scope, str) for scope in scopes
    ):
        raise Invalid("token scopes must be a list of strings")
    check_scopes(scopes)
    return list(dict.fromkeys(scopes))


def is_widened(token: APIToken, scopes: Sequence[str]) -> bool:
    """Tell whether these scopes would give a token more than it has."""
    return bool(_beyond(token, _checked_scopes(scopes)))


def _beyond(token: APIToken, scopes: list[str]) -> frozenset[str]:
    """Return the wanted scopes, expanded, that a token does not have."""
    if INHERIT in scopes:
        return frozenset() if INHERIT in token.scopes else frozenset({INHERIT})
    identity = Identity(token.owner_kind, token.owner.name)
    return token.access.lacking(expand(scopes, identity), members_among)


def _owned_by(actor: Actor) -> Q:
    """Return the condition of tokens whose owner the actor is."""
    if actor.kind == "user":
        return Q(user__in=User.objects.filter(name=actor.name))
    if actor.kind == "service":
        return Q(service__in=Service.objects.filter(name=actor.name))
    return Q(pk__in=())


def _refuse_itself(token: APIToken, by: Actor, act: str) -> None:
    """Refuse a change that a token may not make of itself."""
    _refuse_among(APIToken.objects.filter(pk=token.pk), by, act)


def _refuse_among(tokens: QuerySet[APIToken], by: Actor, act: str) -> None:
    """Refuse a change of tokens among which is the actor's own.

    A token and all that it was exchanged for count as one, because each holder of the
    first has the others for the asking.
    """
    if by.token_id is None:
        return
    exchanges = TokenExchange.objects.exclude(parent=None)
    parents = exchanges.filter(token=by.token_id).values_list("parent", flat=True)
    first = parents.first() or by.token_id
    narrower = exchanges.filter(parent=first).values("token")
    if tokens.filter(Q(pk=first) | Q(pk__in=narrower)).exists():
        raise Forbidden(f"A token can't {act}: sign in, or use another token.")


def _is_no_exchange(by: Actor) -> tuple[str, list[Any]]:
    """Return the condition, in SQL, that the actor's token came by no exchange."""
    if by.token_id is None:
        return "", []
    exchanged = "SELECT 1 FROM tokens_tokenexchange x WHERE x.token_id = %s"
    return f"NOT EXISTS ({exchanged})", [by.token_id]


def _refuse_exchanged(by: Actor) -> None:
    """Refuse a new secret to a token that came by an exchange.

    The new secret would outlive the token and its parent.
    """
    if by.token_id and TokenExchange.objects.filter(token=by.token_id).exists():
        raise Forbidden(
            "A token that came by an exchange can't issue or rotate tokens, because"
            " these would outlive it: use the token that was exchanged, or sign in."
        )


def _change(
    tokens: QuerySet[APIToken], by: Actor, act: str, **columns: datetime | str | None
) -> int:
    """Change all these tokens and record their names."""
    names = [f"a{pk}" for pk in locked(tokens).values_list("pk", flat=True)]
    if names:
        tokens.update(**columns)
        record(by, f"token.{act}", "token", _only(names), names=names)
        if act in NOTICES:
            ids = [int(name[1:]) for name in names]
            reason = columns.get("frozen_reason", "")
            notices.note(NOTICES[act], ids, by=by, reason=reason)
    return len(names)


def _change_in_batches(
    tokens: QuerySet[APIToken],
    still: Q,
    by: Actor,
    act: str,
    **columns: datetime | str | None,
) -> int:
    """Change those of these tokens that are `still` unchanged; see `_change`."""

    def change(ids: list[int]) -> int:
        return _change(APIToken.objects.filter(still, pk__in=ids), by, act, **columns)

    chosen = APIToken.objects.filter(still, pk__in=tokens.order_by().values("pk"))
    ids = chosen.order_by("pk").values_list("pk", flat=True)
    return sum(in_batches(list(ids), change))


def _find_generated(secret: str) -> APIToken:
    public_id = format.public_id(secret)
    stored = [
        *APIToken.objects.filter(public_id=public_id).values_list("pk", "digest"),
        *PreviousSecret.objects.filter(public_id=public_id).values_list(
            "token_id", "digest"
        ),
    ]
    known = [pk for pk, digest in stored if digests.matches(secret, digest)]
    if not known:
        raise Invalid(
            "This token has the form of those that a hub mints, but this hub has not"
            " minted it. `openssl rand -hex 32` makes one that can be brought."
        )
    return APIToken.objects.get(pk=known[0])


def _known(public_id: str) -> APIToken | None:
    """Return the token with this public id, also of an earlier secret."""
    earlier = PreviousSecret.objects.filter(public_id=public_id).values("token")
    return APIToken.objects.filter(Q(public_id=public_id) | Q(pk__in=earlier)).first()


def _only(names: list[str]) -> str:
    """Return the name if there is one; actions on several record the list of names."""
    return names[0] if len(names) == 1 else ""
