"""The scopes that make the keys of a model visible in responses.

A key is visible if any of its scopes covers the object, and is left out otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of one model, each with the scopes of which any one makes it visible.

    If there is a `gate`, nothing is visible without one of its scopes.
    """

    keys: Mapping[str, tuple[str, ...]]
    gate: str | None = None

    def grants(self) -> dict[str, frozenset[str]]:
        """Return each scope with the keys that it makes visible."""
        grants: dict[str, frozenset[str]] = {}
        for key, any_of in self.keys.items():
            for scope in any_of:
                grants[scope] = grants.get(scope, frozenset()) | {key}
        return grants


_ANY_OF_USER: Final = (
    "read:users",
    "read:users:name",
    "read:users:groups",
    "read:users:activity",
    "read:roles:users",
    "read:servers",
    "admin:auth_state",
)
_ANY_OF_GROUP: Final = ("read:groups", "read:groups:name", "read:roles:groups")
_ANY_OF_SERVICE: Final = (
    "read:services",
    "read:services:name",
    "read:roles:services",
)
_SERVER: Final = ("read:servers",)

TABLES: Final[Mapping[str, Table]] = {
    # `servers` is included if all servers of the user are visible, even if there are
    # none. A caller with access to single servers of a user adds the key if there are
    # any.
    "user": Table(
        {
            "kind": _ANY_OF_USER,
            "name": _ANY_OF_USER,
            "admin": ("read:users", "read:users:name", "read:roles:users"),
            "user_info": ("read:users", "read:users:name"),
            "roles": ("read:users", "read:roles:users"),
            "groups": ("read:users", "read:users:groups"),
            "server": ("read:users",),
            "pending": ("read:users",),
            "created": ("read:users",),
            "last_activity": ("read:users", "read:users:activity"),
            "servers": _SERVER,
            "auth_state": ("admin:auth_state",),
        }
    ),
    "group": Table(
        {
            "kind": _ANY_OF_GROUP,
            "name": _ANY_OF_GROUP,
            "users": ("read:groups",),
            "properties": ("read:groups",),
            "roles": ("read:roles:groups",),
        }
    ),
    "service": Table(
        {
            "kind": _ANY_OF_SERVICE,
            "name": _ANY_OF_SERVICE,
            "admin": _ANY_OF_SERVICE,
            "url": ("read:services",),
            "prefix": ("read:services",),
            "command": ("read:services",),
            "pid": ("read:services",),
            "info": ("read:services",),
            "display": ("read:services",),
            "roles": ("read:roles:services",),
        }
    ),
    "server": Table(
        {
            "name": _SERVER,
            "display_name": _SERVER,
            "full_name": _SERVER,
            "last_activity": _SERVER,
            "started": _SERVER,
            "pending": _SERVER,
            "ready": _SERVER,
            "stopped": _SERVER,
            "url": _SERVER,
            "user_options": _SERVER,
            "progress_url": _SERVER,
            "full_url": _SERVER,
            "full_progress_url": _SERVER,
            "state": ("admin:server_state",),
        },
        gate="read:servers",
    ),
}
