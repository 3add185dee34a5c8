"""Actions on tokens: issue, import, disable, revoke and purge."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

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
from scopes.refusals import Conflict, Invalid
from services.models import Service
from tokens import digests, format, keys
from tokens.models import APIToken, CreatedVia, Purpose

MAX_NOTE_LENGTH = 1023
# A century; a later end is refused.
MAX_EXPIRES_IN = 100 * 365 * 86_400

# SQL conditions on tokens `h`; each leaves out tokens that the hub issues by itself,
# such as those of servers. Rooms to the right append theirs in `AppConfig.ready()`.
uncounted_tokens: list[str] = []

# Tokens that one transaction deletes, so that other writers wait briefly.
MOST_PURGED = 500

# Most scopes in the message of a refusal.
MOST_NAMED = 100

# JupyterHub accepts supplied tokens from this length on.
MIN_IMPORTED_LENGTH = 8


def issue_token(
    owner: User | Service,
    *,
    by: Actor,
    scopes: Sequence[str] | None = None,
    note: str = "",
    expires_in: int | None = None,
    session_id: str | None = None,
    client_id: str = "",
    via: CreatedVia = CreatedVia.API,
    purpose: Purpose | None = None,
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
    """
    now = now or timezone.now()
    if client_id and scopes is not None:
        check_scopes(scopes)
        scopes = list(scopes)
    else:
        scopes = check_token_scopes(owner, scopes)
    check_note(note)
    expires_in = check_expires_in(expires_in, capped=capped)
    tag_keys = keys.tag_keys()
    secret, public_id = format.generate(keys.prefix(), tag_keys)
    token = APIToken(
        public_id=public_id,
        tag_key=format.key_id(tag_keys[0]) if tag_keys else "",
        digest=digests.digest(secret, APIToken.Origin.GENERATED),
        origin=APIToken.Origin.GENERATED,
        note=note,
        scopes=scopes,
        purpose=purpose or usual_purpose(owner, client_id, via),
        created_via=via,
        client_id=client_id,
        session_id=session_id,
        created=now,
        expires_at=None if expires_in is None else now + timedelta(seconds=expires_in),
    )
    with transaction.atomic():
        condition: tuple[str, list[Any]] = ("", [])
        if limited and not client_id and isinstance(owner, User):
            condition = has_room(owner, now)
        _store(token, owner, by, condition)
    return token, secret


def usual_purpose(owner: User | Service, client_id: str, via: CreatedVia) -> Purpose:
    """Return what a token is for, as far as its owner and its way show that."""
    if client_id:
        return Purpose.CLIENT
    if isinstance(owner, Service):
        return Purpose.SERVICE
    by_hand = via in (CreatedVia.PAGE, CreatedVia.ADMIN)
    return Purpose.PERSON if by_hand else Purpose.PROGRAM


def has_room(user: User, now: datetime) -> tuple[str, list[Any]]:
    """Return the condition, in SQL, under which a user may have one more token.

    Tokens that the hub issued by itself, for servers and OAuth clients, are not
    counted, and neither are those of the configuration. The condition is part of the
    statement that stores the token, so that two requests at once are both counted.
    """
    limit = limit_of(user)
    if not limit:
        return "", []
    apart = "".join(f" AND {condition}" for condition in uncounted_tokens)
    # No more rows than the limit are read, however many there are.
    condition = (
        "(SELECT count(*) FROM (SELECT 1 FROM tokens_apitoken h"  # noqa: S608
        " WHERE h.user_id = %s AND h.client_id = '' AND h.origin = 'minted'"
        " AND h.revoked_at IS NULL"
        f" AND (h.expires_at IS NULL OR h.expires_at > %s){apart} LIMIT %s) held) < %s"
    )
    moment = connection.ops.adapt_datetimefield_value(now)
    return condition, [user.pk, moment, limit, limit]


def _full(user: User) -> Conflict:
    return Conflict(
        f"User {user.name} has {limit_of(user)} active tokens, as many as one user"
        " may have: revoke some that are not needed, or use one of them. An"
        " administrator can raise the limit (c.Hub.token_limit_per_user)."
    )


def limit_of(user: User) -> int:
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
    if format.is_ours(secret):
        return _find_generated(secret)
    public_id = format.lookup_key(secret, keys.lookup_hash_key())
    known = APIToken.objects.filter(public_id=public_id).first()
    if known is not None:
        return known
    is_service = isinstance(owner, Service)
    token = APIToken(
        public_id=public_id,
        digest=digests.digest(secret, APIToken.Origin.IMPORTED),
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
    """Enable these tokens, in batches; return the number of changes."""
    paused = Q(disabled_at__isnull=False, revoked_at=None)
    return _change_in_batches(
        tokens, paused, by, "enable", disabled_at=None, disabled_by=""
    )


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
        named = sorted(beyond)[:MOST_NAMED]
        more = (
            f" and {len(beyond) - MOST_NAMED} more" if len(beyond) > MOST_NAMED else ""
        )
        raise Invalid(
            f"Not assigning requested scopes {','.join(named)}{more}"
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
) -> None:
    if isinstance(owner, User):
        token.user = owner
    else:
        token.service = owner
    token.created_by, token.created_address = by.label, by.address
    if not insert(token, *condition):
        # The limit applies to users only.
        raise _full(cast(User, owner))
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


def _change(
    tokens: QuerySet[APIToken], by: Actor, act: str, **columns: datetime | str | None
) -> int:
    """Change all these tokens and record their names."""
    names = [f"a{pk}" for pk in locked(tokens).values_list("pk", flat=True)]
    if names:
        tokens.update(**columns)
        record(by, f"token.{act}", "token", _only(names), names=names)
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
    known = APIToken.objects.filter(public_id=format.public_id(secret)).first()
    if known is None or not digests.matches(secret, known.digest):
        raise Invalid(
            "This token has the form of those that a hub mints, but this hub has not"
            " minted it. `openssl rand -hex 32` makes one that can be brought."
        )
    return known


def _only(names: list[str]) -> str:
    """Return the name if there is one; actions on several record the list of names."""
    return names[0] if len(names) == 1 else ""
