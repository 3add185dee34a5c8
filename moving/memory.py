"""The memory of imported rows: what they have become here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from moving.models import ImportedRow

# Longer keys are hashed, because indexes of PostgreSQL have a limit.
LONGEST: Final = 400


def key_of(name: str) -> str:
    """Return the key of a name."""
    if len(name) <= LONGEST:
        return name
    return f"sha256:{sha256(name.encode()).hexdigest()}"


def recall(kind: str, names: Iterable[str]) -> dict[str, int]:
    """Return the ids here of those of these names that were imported before."""
    keys = {key_of(name): name for name in names}
    rows = ImportedRow.objects.filter(kind=kind, key__in=keys)
    return {keys[key]: target for key, target in rows.values_list("key", "target")}


def remember(kind: str, targets: Mapping[str, int]) -> None:
    """Store the ids of imported rows by their names."""
    ImportedRow.objects.bulk_create(
        [
            ImportedRow(kind=kind, key=key_of(name), target=target)
            for name, target in targets.items()
        ],
        ignore_conflicts=True,
    )
