"""Secrets that the hub generates for itself, in files that only it can read."""

from __future__ import annotations

import os
import secrets
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
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    # Created with its mode, so that others can't read the file at any moment.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_text("ascii").strip()
