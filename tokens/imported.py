"""Tokens from a database of JupyterHub, until their first use.

Such a row has JupyterHub's digest and the beginning of its secret, because the secret
is not known. Nothing else finds the row: its public id is no lookup key. The first use
shows the secret. Then the row becomes like that of any imported secret.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from tokens import digests, format, jupyterhub_digests, keys
from tokens.models import APIToken, PreviousSecret


def unclaimed_id(hashed: str) -> str:
    """Return the public id of a row whose secret is not known yet.

    Two tildes keep it apart from lookup keys, which have one.
    """
    return f"~~{source_of(hashed)[:28]}"


def source_of(hashed: str) -> str:
    """Return a keyed hash of a digest, which says later that it was imported.

    The digest itself is not kept, because it is weaker than Argon2id.
    """
    return digests.keyed(keys.derived("jupyterhub digest"), hashed)


@sensitive_variables("secret")
def find_imported(secret: str) -> int | None:
    """Return the id of the token of a secret that was imported and used, or None."""
    public_id = format.lookup_key(secret, keys.lookup_hash_key())
    rows = APIToken.objects.filter(public_id=public_id)
    return rows.values_list("pk", flat=True).first()


@sensitive_variables("secret")
def claim(secret: str) -> bool:
    """Renew the imported row that has this secret; return whether there was one."""
    return any(
        claim_in(model.objects.all(), secret) for model in (APIToken, PreviousSecret)
    )


@sensitive_variables("secret")
def claim_in(rows: QuerySet[Any], secret: str) -> bool:
    """Do the same with rows of any model that has these columns."""
    if len(secret) > jupyterhub_digests.MAX_LENGTH or not secret.isascii():
        return False
    # No database stores a NUL character.
    if format.is_ours(secret) or "\0" in secret:
        return False
    # The exclusion is the condition of the index.
    candidates = rows.exclude(imported_prefix="").filter(
        imported_prefix__in=jupyterhub_digests.prefixes(secret)
    )
    for pk, stored in candidates.order_by("pk").values_list("pk", "digest"):
        if jupyterhub_digests.matches(secret, stored):
            return _renew(rows.model, pk, stored, secret)
    return False


@sensitive_variables("secret", "renewed")
def _renew(model: Any, pk: int, stored: str, secret: str) -> bool:
    renewed = {
        "public_id": format.lookup_key(secret, keys.lookup_hash_key()),
        "digest": digests.digest(secret, APIToken.Origin.IMPORTED),
        "imported_prefix": "",
    }
    if any(field.name == "fingerprint" for field in model._meta.concrete_fields):
        renewed["fingerprint"] = digests.fingerprint(secret)
    try:
        with transaction.atomic():
            model.objects.filter(pk=pk, digest=stored).update(**renewed)
    except IntegrityError:
        # The configuration has the same secret, and its row is the one that counts.
        return False
    return True
