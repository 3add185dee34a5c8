"""Ready selections of scopes on the page of a new token."""

from __future__ import annotations

from accounts.models import User
from scopes.definitions import INHERIT, SCOPES, implied
from scopes.grammar import RawScope

EVERYTHING = "everything"
READ = "read"
SERVERS = "servers"
GROUP = "group"
CHOSEN = "chosen"

LABELS = {
    EVERYTHING: "Everything I may do, now and later",
    READ: "Read only: see what I may see, change nothing",
    SERVERS: "Start and use my servers from a script",
    GROUP: "Manage a group",
    CHOSEN: "Only the permissions chosen below",
}


def presets_of(user: User) -> list[str]:
    """Return the presets that give a token of `user` any right."""
    found = [EVERYTHING]
    found += [READ] if scopes_of(READ, user) else []
    found += [SERVERS] if scopes_of(SERVERS, user) else []
    found += [GROUP] if user.access.has("groups") else []
    return [*found, CHOSEN]


def scopes_of(preset: str, user: User, group: str = "") -> list[str]:
    """Return the raw scopes of a preset; the choice of single scopes has none.

    Scopes that `user` does not hold are left out, except those of a named group, which
    are refused like scopes that a person wrote.
    """
    if preset == EVERYTHING:
        return [INHERIT]
    if preset == READ:
        return _reading(user)
    if preset == SERVERS:
        wanted = ("servers", "access:servers", "read:users:name")
        held = [name for name in wanted if user.access.allows(name, obj=user)]
        return [f"{name}!user" for name in held] if "servers" in held else []
    if preset == GROUP and group:
        members = _reaches_group(user, "read:users", group)
        return [
            f"groups!group={group}",
            *([f"read:users!group={group}"] if members else []),
        ]
    return []


def managed_groups(user: User, most: int = 50) -> list[str]:
    """Return names of groups that `user` manages by a filter; unlimited has none."""
    filters = user.access.reach("groups")
    return sorted((filters or {}).get("group", ()))[:most]


def relative(text: str, user: User) -> str:
    """Write a filter for `user` alone without the name.

    Such a scope still means the same user after a renaming.
    """
    scope = RawScope.parse(text)
    if (scope.kind, scope.value) == ("user", user.name):
        return str(RawScope(scope.name, "user"))
    return text


def without_contained(scopes: set[str]) -> set[str]:
    """Leave out the scopes that another one of `scopes` contains."""
    contained: set[str] = set()
    for text in scopes:
        scope = RawScope.parse(text)
        if scope.name in SCOPES:
            for name in implied(scope.name) - {scope.name}:
                contained.add(str(RawScope(name, scope.kind, scope.value)))
    return scopes - contained


def _reading(user: User) -> list[str]:
    held = {
        scope for scope in user.access.scopes if scope.startswith(("read:", "list:"))
    }
    return sorted(relative(scope, user) for scope in without_contained(held))


def _reaches_group(user: User, name: str, group: str) -> bool:
    filters = user.access.reach(name)
    return filters is None or group in filters.get("group", ())
