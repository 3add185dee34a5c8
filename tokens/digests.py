"""The stored digests of secrets: Argon2id, with its parameters in the digest.

A generated token has 256 random bits, so nobody can guess it however fast the hash is;
a light profile keeps the first use of a token cheap. An imported secret may be a word
that a person chose, so it gets OWASP's parameters for passwords. All hashes run within
the limit of `accounts.hashing`.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from accounts.hashing import Kind, ceiling
from tokens import jupyterhub_digests, keys
from tokens.models import APIToken

PROFILES = {
    APIToken.Origin.GENERATED: PasswordHasher(
        time_cost=1, memory_cost=1024, parallelism=1, hash_len=32, salt_len=16
    ),
    APIToken.Origin.IMPORTED: PasswordHasher(
        time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16
    ),
}


def digest(secret: str, origin: str) -> str:
    """Return the digest of a secret."""
    profile = PROFILES[APIToken.Origin(origin)]
    with ceiling.turn(Kind.SECRET, profile.memory_cost):
        return profile.hash(secret)


def matches(secret: str, stored: str) -> bool:
    """Return whether `stored` is a digest of this secret, under any parameters."""
    if jupyterhub_digests.is_digest(stored):
        return jupyterhub_digests.matches(secret, stored)
    try:
        memory = extract_parameters(stored).memory_cost
        with ceiling.turn(Kind.SECRET, memory):
            return PROFILES[APIToken.Origin.GENERATED].verify(stored, secret)
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(stored: str, origin: str) -> bool:
    """Return whether a digest has other parameters than the current ones."""
    if jupyterhub_digests.is_digest(stored):
        return True
    return PROFILES[APIToken.Origin(origin)].check_needs_rehash(stored)


def fingerprint(secret: str) -> str:
    """Return the value that finds the row of a secret by the secret's SHA-256."""
    return fingerprint_of(sha256(secret.encode()).hexdigest())


def fingerprint_of(sha256_in_hex: str) -> str:
    """Return the same from the SHA-256 alone, which logs of others may contain.

    Without the key nobody can compare stored fingerprints with guessed secrets.
    """
    key = keys.derived("fingerprint")
    return keyed(key, sha256_in_hex.lower())


def keyed(key: bytes, text: str) -> str:
    """Return a keyed hash of a text, as 43 characters."""
    mac = hmac.digest(key, text.encode(), "sha256")
    return urlsafe_b64encode(mac).decode().rstrip("=")
