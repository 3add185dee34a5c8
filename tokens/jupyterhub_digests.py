"""Digests as JupyterHub stores them: `sha512:rounds:salt:digest`.

Only tokens from a database of JupyterHub have them, and only until their first use: the
secret is known then, and Argon2id replaces the digest. JupyterHub finds a row by the
beginning of the token, which it stores beside the digest.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha512
from typing import Final

PREFIX_LENGTH: Final = 16
# JupyterHub takes no longer token.
MAX_LENGTH: Final = 64
# JupyterHub uses 1 and 16384. A row with very many would keep a thread busy for hours.
MOST_ROUNDS: Final = 200_000
FORM: Final = re.compile(
    r"sha512:([1-9][0-9]{0,5}):([0-9a-zA-Z]{1,64}):([0-9a-f]{128})"
)


def is_digest(stored: str) -> bool:
    """Return whether this is a digest that `matches` can compare."""
    found = FORM.fullmatch(stored)
    return found is not None and int(found[1]) <= MOST_ROUNDS


def matches(secret: str, stored: str) -> bool:
    """Return whether `stored` is the digest of this secret."""
    found = FORM.fullmatch(stored)
    if found is None or len(secret) > MAX_LENGTH:
        return False
    rounds, salt, expected = found.groups()
    # The salt is used as its text.
    hashed = sha512(salt.encode())
    for _ in range(int(rounds)):
        hashed.update(secret.encode())
    return hmac.compare_digest(hashed.hexdigest(), expected)


def prefixes(secret: str) -> list[str]:
    """Return all stored beginnings that this secret may have."""
    return [secret[:length] for length in range(1, PREFIX_LENGTH + 1)]
