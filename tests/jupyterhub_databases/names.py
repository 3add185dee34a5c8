"""The names in a response, by which two hubs are compared."""

from __future__ import annotations

from typing import Any


def names(body: Any) -> list[str]:
    """Return the names in a list or in one object."""
    if isinstance(body, dict) and "name" in body:
        return [body["name"]]
    rows = body if isinstance(body, list) else body.values()
    return sorted(row["name"] for row in rows)
