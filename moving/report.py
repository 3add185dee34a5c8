"""What an import or an export moved, and what it left, in words for an operator."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# Names that are shown with a reason.
MOST_SHOWN: Final = 10


@dataclass(slots=True)
class Report:
    """Numbers by kind, and reasons with the first names.

    `came` were moved, `kept` were there already and stayed as they are, `left` were not
    moved; `remarks` are sentences about the whole.
    """

    came: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    names: dict[tuple[str, str], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    remarks: list[str] = field(default_factory=list)

    def leave(self, kind: str, reason: str, name: str = "") -> None:
        """Count one row that is not moved."""
        self.left[kind, reason] += 1
        shown = self.names[kind, reason]
        if name and len(shown) < MOST_SHOWN:
            shown.append(name)

    def kinds(self) -> list[str]:
        """Return all kinds, in the order in which they were counted."""
        both = (*self.came, *self.kept, *(kind for kind, _ in self.left))
        return list(dict.fromkeys(both))

    def left_of(self, kind: str) -> int:
        return sum(number for (of, _), number in self.left.items() if of == kind)

    def reasons(self) -> Iterator[str]:
        """Yield a line for each reason for which something was left."""
        for (kind, reason), number in self.left.items():
            names = self.names[kind, reason]
            more = number - len(names)
            named = ", ".join(names) + (f" and {more} more" if names and more else "")
            yield f"{number} {kind}: {reason}" + (f" ({named})" if named else "")

    def counts(self) -> dict[str, dict[str, int]]:
        """Return all numbers, for the audit log."""
        return {
            kind: {
                "imported": self.came[kind],
                "kept": self.kept[kind],
                "left": self.left_of(kind),
            }
            for kind in self.kinds()
        }
