"""Import secrets that somebody supplies, in the configuration for instance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.models import User
from audit.models import Actor
from scopes.definitions import INHERIT
from scopes.refusals import Invalid
from services.models import Service
from tokens import digests, format, imported, keys
from tokens.actions.acting_token import refuse_exchanged
from tokens.actions.issuing import store_token
from tokens.actions.values import check_note
from tokens.models import APIToken, CreatedVia, PreviousSecret, Purpose

# JupyterHub accepts supplied tokens from this length on.
MIN_IMPORTED_LENGTH = 8


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
    refuse_exchanged(by)
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
            store_token(token, owner, by)
    except IntegrityError:
        # Another process stored the same secret in the meantime.
        return APIToken.objects.get(public_id=public_id)
    return token


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
            "This token has the format of this hub's own tokens, but this hub has not"
            " generated it. `openssl rand -hex 32` makes one that can be imported."
        )
    return APIToken.objects.get(pk=known[0])


def _known(public_id: str) -> APIToken | None:
    """Return the token with this public id, also of an earlier secret."""
    earlier = PreviousSecret.objects.filter(public_id=public_id).values("token")
    return APIToken.objects.filter(Q(public_id=public_id) | Q(pk__in=earlier)).first()
