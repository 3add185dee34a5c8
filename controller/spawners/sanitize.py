"""Texts of spawners and hooks that can be stored and shown.

A row that can't be written would be retried for ever, and with it the start.
"""

from __future__ import annotations

from typing import Any, Final

from database.storable import storable

# Characters of one text that people are shown: a page and a stream repeat all texts.
LONGEST: Final = 16_384


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
