"""Remove NUL bytes, lone surrogates and infinities before text is stored.

Spawners and hooks may produce such values, for instance from names of files. PostgreSQL
stores no NUL, neither database stores lone surrogates, and JSON has no infinite number.
A row that can't be written would be retried for ever, and with it the start.
"""

from __future__ import annotations

import math
from typing import Any, Final

# Characters of one text that people are shown: a page and a stream repeat all texts.
LONGEST: Final = 16_384


def storable(value: Any) -> Any:
    """Return a text or JSON value without what can't be stored."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [storable(each) for each in value]
    return value


def brief(value: Any) -> Any:
    """Return what `storable` does, with texts cut that are too long to be shown."""
    kept = storable(value)
    if isinstance(kept, str):
        return kept if len(kept) <= LONGEST else f"{kept[:LONGEST]}\u2026"
    if isinstance(kept, dict):
        return {key: brief(each) for key, each in kept.items()}
    if isinstance(kept, list):
        return [brief(each) for each in kept]
    return kept
