"""Secrets that the hub generates for itself, in files that only it can read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def keep(path: Path) -> str:
    """Return the secret in a file, which the first call generates.

    Processes that start at once all get the same secret, because the file appears under
    its name complete, and only if there is none.
    """
    with suppress(FileNotFoundError):
        return path.read_text("ascii").strip()
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = _draft(path, new_key() + "\n")
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_text("ascii").strip()


def keep_several(path: Path) -> list[str]:
    """Return the secrets in a file, one in each line; see `keep`."""
    return keep(path).split()


def replace(path: Path, values: Sequence[str]) -> None:
    """Replace the secrets in a file, at once for all readers."""
    draft = _draft(path, "".join(f"{value}\n" for value in values))
    draft.rename(path)


def new_key() -> str:
    """Return a new random key."""
    return secrets.token_hex(32)


def derived(secret: str, purpose: str) -> str:
    """Return the key for a purpose that all processes with the secret know."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _draft(path: Path, text: str) -> Path:
    """Write a file beside another one, which only the hub's account can read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    # Created with its mode, so that others can't read the file at any moment.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
