"""What an authenticator keeps about a user, encrypted in JupyterHub's own format.

A value is the JSON of a dictionary in a Fernet token. The first of the keys encrypts,
and all of them decrypt, so a new key in front replaces the others over time: a value
that another key encrypted is encrypted again when it is read.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction

from accounts.models import AuthState, User
from audit.actions import record
from audit.models import Actor
from database.locks import keep
from scopes.refusals import Invalid

logger = structlog.get_logger(__name__)

# Most characters of a value as JSON.
LONGEST: Final = 1_000_000

UNAVAILABLE: Final = (
    "This hub keeps no auth_state, because it has no key to encrypt it: set"
    " JUPYTERHUB_CRYPT_KEY or c.CryptKeeper.keys"
)


def is_available() -> bool:
    """Return whether there is a key, without which nothing can be kept."""
    return bool(settings.HUB.crypt_keys)


def check(value: dict[str, Any]) -> str:
    """Return a value as JSON; raise `Invalid` if it can't be kept."""
    if not is_available():
        raise Invalid(UNAVAILABLE)
    text = json.dumps(value)
    if len(text) > LONGEST:
        raise Invalid(
            f"auth_state has {len(text)} characters as JSON, and at most {LONGEST} are"
            " kept"
        )
    return text


def encrypt(value: dict[str, Any]) -> bytes:
    """Return a value as it is stored; raise `Invalid` if it can't be kept."""
    text = check(value)
    return _fernets()[0].encrypt(text.encode())


def decrypt(encrypted: bytes | memoryview, name: str) -> dict[str, Any] | None:
    """Return a stored value; None, with a warning, if no key decrypts it."""
    reason = "there is no key"
    if is_available():
        try:
            value = json.loads(MultiFernet(_fernets()).decrypt(bytes(encrypted)))
        except InvalidToken:
            reason = "none of the keys has encrypted it"
        except ValueError:
            reason = "it contains no JSON"
        else:
            return value if isinstance(value, dict) else None
    logger.warning("auth_state can't be read", user=name, reason=reason)
    return None


def read(user_id: int, name: str) -> dict[str, Any] | None:
    """Return what is kept about a user, or None.

    A value that an older key encrypted is encrypted with the first key.
    """
    encrypted = (
        AuthState.objects.filter(pk=user_id).values_list("encrypted", flat=True).first()
    )
    return None if encrypted is None else settled(user_id, name, encrypted)


def settled(
    user_id: int, name: str, encrypted: bytes | memoryview
) -> dict[str, Any] | None:
    """Decrypt a value that was read from its row, and renew its encryption."""
    stored = bytes(encrypted)
    value = decrypt(stored, name)
    if value is not None and not _has_first_key(stored):
        # Only if nobody has written another value meanwhile.
        rows = AuthState.objects.filter(pk=user_id, encrypted=stored)
        rows.update(encrypted=encrypt(value))
    return value


@transaction.atomic
def save(user_id: int, value: dict[str, Any] | None) -> None:
    """Keep a value about a user; None removes it."""
    if value is None:
        AuthState.objects.filter(pk=user_id).delete()
        return
    encrypted = encrypt(value)
    keep(User, user_id)
    AuthState.objects.bulk_create(
        [AuthState(user_id=user_id, encrypted=encrypted)],
        update_conflicts=True,
        unique_fields=["user"],
        update_fields=["encrypted"],
    )


@transaction.atomic
def set_auth_state(user: User, value: dict[str, Any] | None, *, by: Actor) -> None:
    """Replace what is kept about a user, for a program or an administrator."""
    save(user.pk, value)
    # The value holds secrets, so that only the fact is recorded.
    record(by, "user.set_auth_state", "user", user.name)


def _fernets() -> list[Fernet]:
    return [Fernet(base64.urlsafe_b64encode(key)) for key in settings.HUB.crypt_keys]


def _has_first_key(encrypted: bytes) -> bool:
    if len(settings.HUB.crypt_keys) == 1:
        return True
    try:
        _fernets()[0].decrypt(encrypted)
    except InvalidToken:
        return False
    return True
