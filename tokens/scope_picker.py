"""The scopes on the token page, grouped by subject."""

from __future__ import annotations

from typing import NamedTuple

from accounts.models import User
from scopes.definitions import NO_SCOPE, SCOPES, implied
from scopes.grammar import RawScope, describe
from tokens.presets import relative

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


class Choice(NamedTuple):
    """A scope on the page, its description, and the offered scopes it contains."""

    scope: str
    words: str
    contains: tuple[str, ...] = ()


def offer(user: User) -> list[tuple[str, list[Choice]]]:
    """Return the scopes that `user` may give to a token, with descriptions.

    Sub-scopes are offered as well, because a token should have no more rights than
    necessary. A filter for the user alone is written without the name, so that it still
    means the same user after a renaming.
    """
    groups: dict[str, list[Choice]] = {label: [] for label in GROUPS.values()}
    held = {relative(scope, user) for scope in user.access.scopes}
    for scope in sorted(map(RawScope.parse, held), key=_place):
        words = describe(str(scope), to_owner=True)
        contains = sorted(
            held
            & {str(RawScope(name, scope.kind, scope.value)) for name in _within(scope)}
        )
        choice = Choice(str(scope), words, tuple(contains))
        groups[GROUPS[_resource(scope.name)]].append(choice)
    groups[GROUPS["hub"]].append(Choice(NO_SCOPE, describe(NO_SCOPE)))
    return [(label, choices) for label, choices in groups.items() if choices]


def _within(scope: RawScope) -> frozenset[str]:
    """Return the names of the scopes that a scope contains, besides itself."""
    return implied(scope.name) - {scope.name}


def _resource(name: str) -> str:
    words = name.split(":")
    for word, resource in RESOURCES:
        if word in words:
            return resource
    return "hub"


def _place(scope: RawScope) -> tuple[int, str]:
    return ORDER.get(scope.name, len(ORDER)), str(scope)
