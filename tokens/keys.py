"""The hub's own keys for tokens, from the settings."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from django.conf import settings


def prefix() -> str:
    """Return the prefix of new tokens; old ones keep theirs."""
    return getattr(settings, "TOKEN_PREFIX", "hub")


def visible_start(public_id: str) -> str:
    """Return the part of a token before its secret, with the present prefix.

    Empty for an imported secret, whose public id is a lookup key.
    """
    return "" if public_id.startswith("~") else f"{prefix()}_{public_id}_"


def tag_keys() -> Sequence[bytes]:
    """Return the keys of tags: the first signs, all verify; no key accepts all tags."""
    keys = getattr(settings, "TOKEN_TAG_KEYS", None)
    return (derived("tag"),) if keys is None else keys


def lookup_hash_key() -> bytes:
    """Return the key of lookup keys; imported secrets are not found under another."""
    return getattr(settings, "TOKEN_HANDLE_KEY", None) or derived("handle")


def derived(purpose: str) -> bytes:
    """Derive a key from the secret key, for settings without a key."""
    return hmac.digest(
        settings.SECRET_KEY.encode(), f"token {purpose}".encode(), "sha256"
    )
