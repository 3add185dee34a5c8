"""The JSON of users.

A user's JSON is made from one row of one statement, alone or in a list of two hundred.
The statement is the same for all callers; the template of a caller with fewer rights
leaves keys out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import orjson

from accounts import auth_state
from accounts.models import User
from api.base import APIRequest
from api.jsontext import dialect
from api.servers import default_server, server_json
from database.statements import first_row, vendor_in_use
from scopes.access import Access, Target, View
from scopes.refusals import NotFound
from servers.models import server_url
from tokens import activity

# Statements are made of constants; input is passed as parameters.
# ruff: noqa: S608

IS_ACTIVE = "(s.ready OR s.pending IS NOT NULL)"

# The keys that are a column each, in the order of the columns.
COLUMNS = ("name", "admin", "user_info", "roles", "groups", "created", "last_activity")

NAME, GROUPS = COLUMNS.index("name"), COLUMNS.index("groups")

# The columns of each server, with the conversion to JSON.
SERVER_COLUMNS = {
    "s.name": "string",
    "s.display_name": "string",
    "s.user_options": "value",
    "s.state": "value",
    "s.pending": "string",
    "s.ready": "boolean",
    "s.started": "moment",
    "s.last_activity": "moment",
}


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A server as the statement reads it; times are text in the API's format."""

    name: str
    display_name: str
    user_options: Any
    state: Any
    pending: str | None
    ready: bool
    started: str | None
    last_activity: str | None


@cache
def columns(vendor: str, with_stopped: bool = False) -> tuple[str, ...]:
    """Return the columns of users `u`: the JSON of each, and last their servers.

    Servers are NULL if there are none, which is the common case in a list.
    """
    sql = dialect(vendor)
    active = "" if with_stopped else f" AND {IS_ACTIVE}"
    servers = sql.lists(
        SERVER_COLUMNS, f"servers_server s WHERE s.user_id = u.id{active}"
    )
    return (
        sql.string("u.name"),
        sql.boolean("u.admin"),
        sql.value("u.user_info"),
        sql.strings(
            "r.name",
            "accounts_user_roles ur JOIN accounts_role r ON r.id = ur.role_id "
            "WHERE ur.user_id = u.id",
        ),
        sql.strings(
            "g.name",
            "accounts_user_groups ug JOIN accounts_group g ON g.id = ug.group_id "
            "WHERE ug.user_id = u.id",
        ),
        sql.moment("u.created"),
        sql.moment("u.last_activity"),
        f"nullif({servers}, '[]')",
    )


def select(with_stopped: bool) -> str:
    """Return the SELECT list for users `u`."""
    return ", ".join(columns(vendor_in_use(), with_stopped))


@cache
def select_by_name(vendor: str, with_stopped: bool) -> str:
    """Return the statement that reads one user, and last the encrypted auth state."""
    kept = "(SELECT a.encrypted FROM accounts_authstate a WHERE a.user_id = u.id)"
    selected = ", ".join((*columns(vendor, with_stopped), "u.id", kept))
    return f"SELECT {selected} FROM accounts_user u WHERE u.name = %s"


@lru_cache(maxsize=256)
def template(keys: frozenset[str], with_servers: bool) -> str:
    """Return the format that converts a row to the JSON of some keys.

    A hidden column is printed with no characters. Without servers the last column
    is hidden, too; else it is the text of all keys about servers.
    """
    columns = "".join(
        f',"{key}":%s' if key in keys else "%.0s"  # one per column, visible or not
        for key in COLUMNS
    )
    rest = "%s}" if with_servers else f"%.0s{idle(keys)}"
    return f'{{"kind":"user"{columns}{rest}'


@lru_cache(maxsize=256)
def idle(keys: frozenset[str]) -> str:
    """Return the end of the JSON of a user without servers."""
    told: dict[str, Any] = {
        "server": None,
        "pending": None,
        "servers": {},
        "auth_state": None,
    }
    return f"{_inner({key: told[key] for key in told if key in keys})}}}"


class UserWriter:
    """Makes the JSON of users with the visible keys of one request."""

    def __init__(self, access: Access, with_stopped: bool) -> None:
        self.view: View = access.view("user")
        self.server_view: View = access.view("server")
        self.with_stopped = with_stopped

    def write(self, rows: Iterable[tuple[Any, ...]]) -> list[str]:
        """Return the JSON texts of users, without those that are not visible.

        A row has all `columns`.
        """
        return [text for row in rows if (text := self.write_one(row))]

    def write_one(
        self, row: tuple[Any, ...], secret: Callable[[str], Any] | None = None
    ) -> str:
        """Return the JSON text of one user; empty if the user is not visible.

        `secret` returns the auth state of the user with a name. It is called only if
        the caller may see the auth state.
        """
        keys = self.view.fixed
        if keys is None:
            name, groups = orjson.loads(row[NAME]), orjson.loads(row[GROUPS])
            keys = self.view.keys(Target(user=name, group=groups))
        if not keys:
            return ""
        is_secret_shown = secret is not None and "auth_state" in keys
        if row[-1] is None and not self.with_stopped and not is_secret_shown:
            return template(keys, False) % row
        name, groups = orjson.loads(row[NAME]), orjson.loads(row[GROUPS])
        told = self.server_members(name, groups, row[-1] or "[]", keys)
        if secret is not None and is_secret_shown:
            # By the standard library, because values may have numbers of any size.
            told["auth_state"] = orjson.Fragment(json.dumps(secret(name)))
        return template(keys, True) % (*row[:-1], _inner(told))

    def server_members(
        self, name: str, groups: Collection[str], rows: str, keys: frozenset[str]
    ) -> dict[str, Any]:
        """Return the keys about a user's servers, whose `rows` are JSON."""
        servers: dict[str, Any] = {
            server.name: server
            for server in (ServerRow(*columns) for columns in orjson.loads(rows))
        }
        default = servers.get("")
        told: dict[str, Any] = {}
        if "server" in keys:
            ready = default is not None and default.ready
            told["server"] = server_url(name, "") if ready else None
        if "pending" in keys:
            told["pending"] = default.pending if default is not None else None
        if self.with_stopped and default is None:
            servers = {"": default_server(User(name=name)), **servers}
        shown = {}
        for server in servers.values():
            seen = self.server_view.keys(
                Target(user=name, server=f"{name}/{server.name}", group=groups)
            )
            if seen:
                state = "state" in seen
                shown[server.name] = server_json(name, server, with_state=state)
        if "servers" in keys or shown:
            told["servers"] = shown
        if "auth_state" in keys:
            told["auth_state"] = None
        return told


def _inner(data: dict[str, Any]) -> str:
    """Return the members of an object as text that continues another object."""
    text = orjson.dumps(data, option=orjson.OPT_UTC_Z).decode()[1:-1]
    return f",{text}" if text else ""


def wants_stopped(request: APIRequest) -> bool:
    """Return whether stopped servers are requested; all other values mean yes."""
    value = request.query_params.get("include_stopped_servers")
    return value is not None and value.lower() not in ("0", "false")


def user_text(request: APIRequest, name: str) -> str:
    """Return the JSON text of one user with the visible keys."""
    activity.flush()
    with_stopped = wants_stopped(request)
    row = first_row(select_by_name(vendor_in_use(), with_stopped), (name,))
    if row is None:
        raise NotFound(f"No such user: {name}")
    pk, encrypted = row[-2:]
    secret = None
    if encrypted is not None:
        secret = partial(auth_state.settled, pk, encrypted=encrypted)
    return UserWriter(request.access, with_stopped).write_one(row[:-2], secret)
