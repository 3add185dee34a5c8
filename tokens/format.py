"""The format of generated tokens.

`<prefix>_<public id>_<secret><tag><crc>`, in base62 and underscores, so that one
double-click selects it:

    prefix      shows people and leak scanners which hub the token belongs to
    public id   12 random characters, independent of the secret; finds the row
    secret      256 bits from the operating system
    tag         64 bits of HMAC-SHA-256 over all before it, under a key of the hub
    crc         CRC-32 of all before it; anyone can check it without the hub

The CRC detects typing errors, the tag detects forgeries; neither shows that a token is
still valid. Without any tag key every tag is accepted, and the digest alone decides:
slower, never open.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from enum import Enum

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PUBLIC_ID_LENGTH = 12
SECRET_LENGTH = 43
TAG_LENGTH = 11
CRC_LENGTH = 6
TAIL_LENGTH = SECRET_LENGTH + TAG_LENGTH + CRC_LENGTH

# Longer input is refused before any computation.
MAX_LENGTH = 128

PREFIX = re.compile(r"[a-z][a-z0-9]{0,15}")
FORM = re.compile(
    rf"{PREFIX.pattern}_[0-9A-Za-z]{{{PUBLIC_ID_LENGTH}}}_[0-9A-Za-z]{{{TAIL_LENGTH}}}"
)


def generate(
    prefix: str, keys: Sequence[bytes], *, public_id: str = "", seed: bytes = b""
) -> tuple[str, str]:
    """Generate a token; return it with its public id, by default a new one.

    The secret is random, or made of the 32 random bytes of `seed`.

    The first of `keys` signs. Without keys the tag is random, which is accepted as long
    as there are none.
    """
    public_id = public_id or _base62(secrets.token_bytes(16), PUBLIC_ID_LENGTH)
    secret = _base62(seed or secrets.token_bytes(32), SECRET_LENGTH)
    body = f"{prefix}_{public_id}_{secret}"
    tag = _tag(body, keys[0] if keys else secrets.token_bytes(32))
    return f"{body}{tag}{_crc(body + tag)}", public_id


def is_ours(token: str) -> bool:
    """Return whether a token has the format above, genuine or not."""
    return FORM.fullmatch(token) is not None


def has_checksum(token: str) -> bool:
    """Return whether a text has the format above and the right checksum.

    Anyone can compute this, so it says nothing about who made the token.
    """
    return is_ours(token) and _crc(token[:-CRC_LENGTH]) == token[-CRC_LENGTH:]


class Looks(Enum):
    """What a text looks like, according to `recognise`."""

    OURS = "ours"
    OTHER_PREFIX = "other-prefix"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


def recognise(text: str, prefix: str) -> Looks:
    """Return what a text looks like, without any key; hub.js computes the same.

    Tokens keep their prefix when the hub's changes, so another prefix may be an older
    one or that of another hub.
    """
    token = text.strip()
    if has_checksum(token):
        same = token.startswith(f"{prefix}_")
        return Looks.OURS if same else Looks.OTHER_PREFIX
    if is_ours(token) or token.startswith(f"{prefix}_"):
        return Looks.DAMAGED
    return Looks.UNKNOWN


def is_genuine(token: str, keys: Sequence[bytes]) -> bool:
    """Return whether a token of this format was generated under one of `keys`."""
    if _crc(token[:-CRC_LENGTH]) != token[-CRC_LENGTH:]:
        return False
    body = token[: -TAG_LENGTH - CRC_LENGTH]
    tag = token[-TAG_LENGTH - CRC_LENGTH : -CRC_LENGTH]
    return not keys or any(hmac.compare_digest(_tag(body, key), tag) for key in keys)


def public_id(token: str) -> str:
    """Return the public id of a token of this format."""
    return token[-TAIL_LENGTH - PUBLIC_ID_LENGTH - 1 : -TAIL_LENGTH - 1]


def lookup_key(secret: str, key: bytes) -> str:
    """Return the lookup key of an imported secret.

    The key protects Argon2 from strangers: without it, nobody can compute a lookup key
    that exists. The tilde keeps lookup keys apart from public ids.
    """
    return f"~{_base62(hmac.digest(key, secret.encode(), 'sha256')[:9], 13)}"


def key_id(key: bytes) -> str:
    """Return an id of a tag key that does not reveal the key."""
    return _base62(hmac.digest(key, b"the name of this key", "sha256")[:5], 8)


def _tag(body: str, key: bytes) -> str:
    return _base62(hmac.digest(key, body.encode(), "sha256")[:8], TAG_LENGTH)


def _crc(text: str) -> str:
    return _base62(zlib.crc32(text.encode()).to_bytes(4, "big"), CRC_LENGTH)


def _base62(data: bytes, length: int) -> str:
    number = int.from_bytes(data, "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
