"""The scopes that shares give, and servers as targets of filters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from accounts.models import Group
from scopes.access import Target

SHARED_SERVERS = (
    " JOIN servers_server v ON v.id = h.server_id"
    " JOIN accounts_user o ON o.id = v.user_id"
    " WHERE "
)


def shared_with_user(kind: str, vendor: str) -> str | None:
    """Return an SQL expression for the shares with a user."""
    if kind != "user":
        return None
    return _shares(f"FROM servers_share h{SHARED_SERVERS}h.user_id = u.id", vendor)


def shared_with_groups(kind: str, vendor: str) -> str | None:
    """Return an SQL expression for the shares with groups of a user."""
    if kind != "user":
        return None
    return _shares(
        "FROM accounts_user_groups ug JOIN servers_share h ON h.group_id = ug.group_id"
        f"{SHARED_SERVERS}ug.user_id = u.id",
        vendor,
    )


def _shares(rest: str, vendor: str) -> str:
    """Return a SELECT of scopes, owner and server of shares as one JSON array.

    The filters are made from the current names of owner and server.
    """
    if vendor == "postgresql":
        row = "json_agg(json_build_array(h.scopes, o.name, v.name))::text"
    else:
        row = "json_group_array(json_array(json(h.scopes), o.name, v.name))"
    return f"(SELECT {row} {rest})"


def read_shares(text: str) -> Iterator[str]:
    """Yield raw scopes from the result of `_shares`."""
    for scopes, owner, server in json.loads(text):
        for scope in scopes:
            yield f"{scope}!server={owner}/{server}"


def user_target(name: str) -> Target:
    """Return a user as a target of filters, which need not exist."""
    return Target(user=name, group=partial(_groups_of, name))


def server_target(owner: str, name: str) -> Target:
    """Return a server as a target of filters, which need not exist."""
    return Target(
        user=owner, server=f"{owner}/{name}", group=partial(_groups_of, owner)
    )


def _groups_of(username: str) -> list[str]:
    groups = Group.objects.filter(users__name=username)
    return list(groups.values_list("name", flat=True))
