"""Groups of the operating system, which the start looks up."""

from __future__ import annotations

import grp
from collections.abc import Collection


def missing_groups(groups: Collection[str]) -> list[str]:
    """Return those of some groups that the system does not have."""
    return sorted(group for group in groups if _id_of(group) is None)


def _id_of(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
