"""The scopes on the token page, grouped by subject."""

from __future__ import annotations

from accounts.models import User
from scopes.definitions import NO_SCOPE, SCOPES
from scopes.grammar import RawScope, describe

GROUPS = {
    "servers": "Servers",
    "users": "Users",
    "tokens": "Tokens",
    "groups": "Groups",
    "shares": "Sharing",
    "services": "Services",
    "roles": "Roles",
    "custom": "Of this site",
    "hub": "The hub",
}

# Words in names of scopes; the first match decides the group.
RESOURCES = (
    ("custom", "custom"),
    ("roles", "roles"),
    ("shares", "shares"),
    ("server_state", "servers"),
    ("servers", "servers"),
    ("auth_state", "users"),
    ("users", "users"),
    ("tokens", "tokens"),
    ("groups", "groups"),
    ("services", "services"),
)

ORDER = {name: number for number, name in enumerate(SCOPES)}

Choice = tuple[str, str]


def offer(user: User) -> list[tuple[str, list[Choice]]]:
    """Return the scopes that `user` may give to a token, with descriptions.

    Sub-scopes are offered as well, because a token should have no more rights than
    necessary. A filter for the user alone is written without the name, so that it still
    means the same user after a renaming.
    """
    groups: dict[str, list[Choice]] = {label: [] for label in GROUPS.values()}
    for scope in sorted(map(RawScope.parse, user.access.scopes), key=_place):
        if scope.kind == "user" and scope.value == user.name:
            scope = RawScope(scope.name, "user")
        words = describe(str(scope), to_owner=True)
        groups[GROUPS[_resource(scope.name)]].append((str(scope), words))
    groups[GROUPS["hub"]].append((NO_SCOPE, describe(NO_SCOPE)))
    return [(label, choices) for label, choices in groups.items() if choices]


def _resource(name: str) -> str:
    words = name.split(":")
    for word, resource in RESOURCES:
        if word in words:
            return resource
    return "hub"


def _place(scope: RawScope) -> tuple[int, str]:
    return ORDER.get(scope.name, len(ORDER)), str(scope)
