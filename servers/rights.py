"""Servers and rights: the scopes that shares give, and how filters know a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from accounts.models import Group
from scopes.access import Target

SHARED_WITH_USER = (
    "FROM servers_share h"
    " JOIN servers_server v ON v.id = h.server_id"
    " JOIN accounts_user o ON o.id = v.user_id"
    " WHERE h.id IN ("
    "SELECT uh.id FROM servers_share uh WHERE uh.user_id = u.id"
    " UNION ALL"
    " SELECT gh.id FROM accounts_user_groups ug"
    " JOIN servers_share gh ON gh.group_id = ug.group_id"
    " WHERE ug.user_id = u.id)"
)


def shared_with(kind: str, vendor: str) -> str | None:
    """Write an expression for all shares of a user, direct and through groups.

    Its value is a JSON array of scopes, owner and server of each: the filter is put
    together from what these are called now.
    """
    if kind != "user":
        return None
    if vendor == "postgresql":
        row = "json_agg(json_build_array(h.scopes, o.name, v.name))::text"
    else:
        row = "json_group_array(json_array(json(h.scopes), o.name, v.name))"
    return f"(SELECT {row} {SHARED_WITH_USER})"


def read_shares(text: str) -> Iterator[str]:
    """Read raw scopes from what `shared_with` selects."""
    for scopes, owner, server in json.loads(text):
        for scope in scopes:
            yield f"{scope}!server={owner}/{server}"


def user_target(name: str) -> Target:
    """Return a user as filters know it, whether it exists or not."""
    return Target(user=name, group=partial(_groups_of, name))


def server_target(owner: str, name: str) -> Target:
    """Return a server as filters know it, whether it exists or not."""
    return Target(
        user=owner, server=f"{owner}/{name}", group=partial(_groups_of, owner)
    )


def _groups_of(username: str) -> list[str]:
    groups = Group.objects.filter(users__name=username)
    return list(groups.values_list("name", flat=True))
