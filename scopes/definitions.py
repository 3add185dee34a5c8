"""The vocabulary of rights: every scope, its sub-scopes, and the default roles.

A scope permits something and includes its sub-scopes, and theirs.
Names and implications are those of JupyterHub 6.1; the descriptions are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypedDict

from scopes.refusals import Invalid


@dataclass(frozen=True, slots=True)
class Scope:
    """The description of one scope, and its direct sub-scopes."""

    description: str
    subscopes: tuple[str, ...] = ()


class RoleSpec(TypedDict):
    """A role as it is declared: a description for people, and raw scopes."""

    description: str
    scopes: list[str]


NO_SCOPE: Final = "(no_scope)"
SELF: Final = "self"
INHERIT: Final = "inherit"
METASCOPES: Final = frozenset({NO_SCOPE, SELF, INHERIT})

# The scopes that `self` means for a user, each limited to that user. For a service
# `self` means nothing.
SELF_SCOPES: Final = (
    "read:users",
    "users:shares",
    "read:shares",
    "users:activity",
    "servers",
    "tokens",
    "access:servers",
)

SCOPES: dict[str, Scope] = {
    NO_SCOPE: Scope("See the owner of the token, and nothing else"),
    SELF: Scope("All rights of users over their own account and servers"),
    INHERIT: Scope("All rights of the owner, now and later"),
    "admin-ui": Scope("Open the administration pages"),
    "admin:users": Scope(
        "Create, change and delete users",
        ("admin:auth_state", "users", "read:roles:users", "delete:users"),
    ),
    "admin:auth_state": Scope("See the data of the sign-in provider about users"),
    "users": Scope(
        "See users and report their activity",
        ("read:users", "list:users", "users:activity"),
    ),
    "delete:users": Scope("Delete users"),
    "list:users": Scope("List users", ("read:users:name",)),
    "read:users": Scope(
        "See users with their groups and activity",
        ("read:users:name", "read:users:groups", "read:users:activity"),
    ),
    "read:users:name": Scope("See the names of users"),
    "read:users:groups": Scope("See the groups of users"),
    "read:users:activity": Scope("See the last activity of users"),
    "users:activity": Scope("Report the activity of users", ("read:users:activity",)),
    "read:roles": Scope(
        "See the roles of users, services and groups",
        ("read:roles:users", "read:roles:services", "read:roles:groups"),
    ),
    "read:roles:users": Scope("See the roles of users"),
    "read:roles:services": Scope("See the roles of services"),
    "read:roles:groups": Scope("See the roles of groups"),
    "admin:servers": Scope(
        "Manage servers and see their internal state",
        ("admin:server_state", "servers"),
    ),
    "admin:server_state": Scope("See the internal state of servers"),
    "servers": Scope(
        "See, start and stop servers",
        ("read:servers", "start:servers", "delete:servers"),
    ),
    "read:servers": Scope("See servers", ("read:users:name",)),
    "start:servers": Scope("Create, start and edit servers"),
    "delete:servers": Scope("Stop and remove servers"),
    "tokens": Scope("See, issue and revoke tokens", ("read:tokens",)),
    "read:tokens": Scope("See tokens, without their secrets"),
    "admin:groups": Scope(
        "Create, change and delete groups",
        ("groups", "read:roles:groups", "delete:groups"),
    ),
    "groups": Scope(
        "Change the members and properties of groups",
        ("read:groups", "list:groups"),
    ),
    "list:groups": Scope("List groups", ("read:groups:name",)),
    "read:groups": Scope("See groups and their members", ("read:groups:name",)),
    "read:groups:name": Scope("See the names of groups"),
    "delete:groups": Scope("Delete groups"),
    "admin:services": Scope(
        "Create and delete services",
        ("list:services", "read:services", "read:roles:services"),
    ),
    "list:services": Scope("List services", ("read:services:name",)),
    "read:services": Scope("See services", ("read:services:name",)),
    "read:services:name": Scope("See the names of services"),
    "read:hub": Scope("See details of the hub"),
    "access:servers": Scope("Use servers in the browser or by their API"),
    "access:services": Scope("Use services"),
    "shares": Scope(
        "Share servers with others, and revoke shares",
        ("access:servers", "read:shares", "users:shares", "groups:shares"),
    ),
    "read:shares": Scope("See the shares of servers"),
    "users:shares": Scope(
        "See and leave servers shared with users", ("read:users:shares",)
    ),
    "read:users:shares": Scope("See servers shared with users"),
    "groups:shares": Scope(
        "See and leave servers shared with groups", ("read:groups:shares",)
    ),
    "read:groups:shares": Scope("See servers shared with groups"),
    "proxy": Scope("See and update the routes of the proxy"),
    "shutdown": Scope("Stop the hub"),
    "read:metrics": Scope("Read the hub's metrics"),
}

DEFAULT_ROLES: dict[str, RoleSpec] = {
    "user": {"description": "The rights of every user", "scopes": [SELF]},
    "admin": {
        "description": "The rights of administrators",
        "scopes": [
            "admin-ui",
            "admin:users",
            "admin:servers",
            "admin:services",
            "tokens",
            "admin:groups",
            "list:services",
            "read:services",
            "read:hub",
            "proxy",
            "shutdown",
            "access:services",
            "access:servers",
            "read:roles",
            "read:metrics",
            "shares",
        ],
    },
    "server": {
        "description": "The rights of a server with its own token",
        "scopes": ["users:activity!user", "access:servers!server"],
    },
    "token": {
        "description": "The rights of a token without scopes of its own",
        "scopes": [INHERIT],
    },
}

_CUSTOM_NAME = re.compile(r"custom:[a-z0-9]([a-z0-9_\-*:]*[a-z0-9_*])?")


@cache
def implied(name: str) -> frozenset[str]:
    """Return `name` and every scope that it includes."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(SCOPES[current].subscopes)
    return frozenset(found)


def register_custom_scopes(definitions: Mapping[str, Mapping[str, Any]]) -> None:
    """Add an administrator's own scopes; refuse all of them if one is wrong.

    The hub does not use them and passes them on to services in `scopes`. Registering
    the same definition again changes nothing.
    """
    added = {
        name: _custom_scope(name, definition, definitions)
        for name, definition in definitions.items()
    }
    for name, scope in added.items():
        if SCOPES.get(name, scope) != scope:
            raise Invalid(f"Custom scope '{name}' is already defined differently")
    SCOPES.update(added)
    implied.cache_clear()


def _custom_scope(
    name: str, definition: object, siblings: Mapping[str, object]
) -> Scope:
    if not isinstance(name, str) or not _CUSTOM_NAME.fullmatch(name):
        raise Invalid(
            f"Custom scope '{name}' must begin with 'custom:' and a lower-case letter"
            " or digit, go on with those or any of '_-*:', and end in a letter,"
            " digit, '_' or '*'"
        )
    if not isinstance(definition, Mapping):
        raise Invalid(f"Custom scope '{name}' must be defined by a dictionary")
    description = definition.get("description")
    if not isinstance(description, str) or not description:
        raise Invalid(f"Custom scope '{name}' needs a description")
    subscopes = definition.get("subscopes") or ()
    if isinstance(subscopes, str) or not all(sub in siblings for sub in subscopes):
        raise Invalid(
            f"Sub-scopes of custom scope '{name}' must be custom scopes defined"
            " beside it"
        )
    return Scope(description, tuple(subscopes))
