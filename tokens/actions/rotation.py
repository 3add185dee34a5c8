"""Rotate tokens: a new secret, while the earlier one stays valid for some time."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from audit.actions import record
from audit.models import Actor
from database.locks import lock_all, locked
from scopes.refusals import Conflict, Invalid
from tokens import digests, format, keys
from tokens.actions.acting_token import refuse_exchanged
from tokens.actions.recorded_changes import locked_token
from tokens.actions.revocation import revoke_tokens
from tokens.models import APIToken, PreviousSecret, Purpose

# Seconds for which the earlier secret stays valid after a rotation.
USUAL_OVERLAP = 86_400

LONGEST_OVERLAP = 30 * 86_400

MAX_ROTATION_KEY_LENGTH = 255

# Earlier secrets of a token that are known; the use of still older ones is no alarm.
MOST_EARLIER = 50


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
    refuse_exchanged(by)
    with locked_token(token, now, public_id=True) as current:
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
        # What was exchanged for the earlier secret ends with that secret at the latest.
        exchanged = APIToken.objects.filter(exchange__parent=current)
        longer = exchanged.filter(Q(expires_at=None) | Q(expires_at__gt=ends_at))
        ids = list(locked(longer).values_list("pk", flat=True))
        lock_all(current.previous_secrets.all(), for_deletion=True)
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
    """End an earlier secret before its overlap ends; return whether that changed it.

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
