"""The rights of a principal, read from the database in one row.

The row contains texts: one SQL column each for the scopes of a principal's roles, for
the groups of a user, and for every source that a room further right registers (shares
of servers). Any query can select them together with its own columns, and equal texts
always give the same `Access` from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import orjson
from django.db import DEFAULT_DB_ALIAS, connections

from scopes.access import (
    EMPTY,
    MEMORY,
    Access,
    Identity,
    Overlap,
    Pair,
    Pairs,
    expand,
    token_overlap,
)
from scopes.caches import remembered

# The alias of the principal's table in a query that selects `columns`.
ALIASES: Final = {"user": "u", "service": "s"}
_TABLES: Final = {"user": "accounts_user", "service": "services_service"}
_ROLES: Final = {
    "user": ("accounts_user_roles", "user_id"),
    "service": ("services_service_roles", "service_id"),
}

# Returns a scalar SQL expression for a kind of principal and a database vendor, or None
# if the source has nothing for that kind.
Build = Callable[[str, str], str | None]
# Converts the selected text to raw scopes.
Read = Callable[[str], Iterable[str]]


def read_arrays(text: str) -> Iterable[str]:
    """Read raw scopes from JSON arrays with commas between them."""
    return (scope for scopes in orjson.loads(f"[{text}]") for scope in scopes)


@dataclass(frozen=True, slots=True)
class Source:
    """A place in the database with scopes.

    Scopes of a source with `sessions_only` apply to signed-in users and to tokens of
    their sessions, not to other tokens.
    """

    build: Build
    read: Read = read_arrays
    sessions_only: bool = False


def concatenated(expression: str, rest: str, vendor: str) -> str:
    """Return a scalar SELECT that joins the text of many rows by commas."""
    if vendor == "postgresql":
        return f"(SELECT string_agg({expression}::text, ',') {rest})"
    return f"(SELECT group_concat({expression}, ',') {rest})"


def _own_roles(kind: str, vendor: str) -> str:
    table, column = _ROLES[kind]
    return concatenated(
        "r.scopes",
        f"FROM {table} x JOIN accounts_role r ON r.id = x.role_id"
        f" WHERE x.{column} = {ALIASES[kind]}.id",
        vendor,
    )


def _roles_of_groups(kind: str, vendor: str) -> str | None:
    # Apart from a user's own roles, because a union of both makes SQLite read all
    # roles.
    if kind == "service":
        return None
    return concatenated(
        "r.scopes",
        "FROM accounts_user_groups ug"
        " JOIN accounts_group_roles gr ON gr.group_id = ug.group_id"
        " JOIN accounts_role r ON r.id = gr.role_id"
        " WHERE ug.user_id = u.id",
        vendor,
    )


def _groups(kind: str, vendor: str) -> str:
    """Return an expression for a JSON array of the names of a user's groups."""
    if kind == "service":
        return "'[]'"
    # A group's name may contain any character, so the database must quote it.
    is_postgresql = vendor == "postgresql"
    array = "json_agg(g.name)::text" if is_postgresql else "json_group_array(g.name)"
    return (
        f"(SELECT {array} FROM accounts_user_groups ug"  # noqa: S608
        " JOIN accounts_group g ON g.id = ug.group_id WHERE ug.user_id = u.id)"
    )


_sources: list[Source] = [Source(_own_roles), Source(_roles_of_groups)]


def register_source(
    build: Build, read: Read = read_arrays, *, sessions_only: bool = False
) -> None:
    """Register one more source of scopes; for `AppConfig.ready()` of other rooms."""
    source = Source(build, read, sessions_only)
    if source not in _sources:
        _sources.append(source)
        forget()


def forget() -> None:
    """Clear the cache, which is outdated once sources change."""
    for memory in (_columns, identity_of, access_of, _overlap_with_owner):
        memory.cache_clear()


def columns(kind: str, using: str = DEFAULT_DB_ALIAS) -> tuple[str, ...]:
    """Return the SQL expressions for `access_of`, in the order of its arguments.

    A query that selects them uses the alias for the principal's table.
    """
    return _columns(kind, connections[using].vendor)


@cache
def _columns(kind: str, vendor: str) -> tuple[str, ...]:
    return (
        _groups(kind, vendor),
        *(source.build(kind, vendor) or "NULL" for source in _sources),
    )


@remembered(MEMORY // 4, lambda who: sum(200 + len(name) for name in who.groups))
def identity_of(kind: str, name: str, groups: str | None) -> Identity:
    """Return a principal's identity; `groups` is the first selected text."""
    return Identity(kind, name, frozenset(orjson.loads(groups or "[]")))


# Principals with equal scopes share an access; the cache of accesses counts its memory.
@remembered(MEMORY, lambda access: access.weight)
def access_of(kind: str, name: str, groups: str | None, *texts: str | None) -> Access:
    """Return the access of a principal from the texts that `columns` selected.

    An unchanged row costs one lookup in memory.
    """
    raws: set[str] = set()
    for source, text in zip(_sources, texts, strict=True):
        if text:
            raws.update(source.read(text))
    if not raws:
        return EMPTY
    return Access.of(expand(raws, identity_of(kind, name, groups)))


def within_reach(client_id: str, texts: Sequence[str | None]) -> tuple[str | None, ...]:
    """Return those of the selected texts that apply to a token.

    `client_id` is the OAuth client that issued the token, or "". A token of a client
    belongs to a session, and all texts apply.
    """
    if client_id:
        return tuple(texts)
    groups, *rest = texts
    pairs = zip(_sources, rest, strict=True)
    return (groups, *(None if s.sessions_only else text for s, text in pairs))


class TokenAccess(NamedTuple):
    """The rights of a token, and whether they depend on the selected texts alone.

    An access that is not `settled` depends on memberships of others: it is valid for
    this request and must be computed again for the next.
    """

    access: Access
    settled: bool


def access_of_token(
    scopes: str,
    client: Identity | None,
    kind: str,
    name: str,
    *texts: str | None,
    using: str = DEFAULT_DB_ALIAS,
) -> TokenAccess:
    """Return the current access of a token.

    `scopes` is the JSON text of its raw scopes, `client` the OAuth client that issued
    it, and the rest are the arguments of `access_of` for its owner, limited by
    `within_reach`.
    """
    common = _overlap_with_owner(scopes, client, kind, name, *texts)
    access = common.settle(lambda pairs: members_among(pairs, using))
    return TokenAccess(access, not common.open)


@remembered(MEMORY, lambda common: common.weight)
def _overlap_with_owner(
    scopes: str, client: Identity | None, kind: str, name: str, *texts: str | None
) -> Overlap:
    return token_overlap(
        orjson.loads(scopes),
        access_of(kind, name, *texts),
        identity_of(kind, name, texts[0]),
        client,
    )


def read_access(kind: str, pk: int, name: str, using: str = DEFAULT_DB_ALIAS) -> Access:
    """Return the access of one principal, with one query."""
    texts = read_texts(kind, pk, using)
    return EMPTY if texts is None else access_of(kind, name, *texts)


def raw_scopes(kind: str, pk: int, using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Return the raw scopes of a principal now, without those of sessions only."""
    texts = within_reach("", read_texts(kind, pk, using) or ())[1:]
    pairs = zip(_sources, texts, strict=False)
    return sorted({raw for source, text in pairs if text for raw in source.read(text)})


def read_texts(
    kind: str, pk: int, using: str = DEFAULT_DB_ALIAS
) -> tuple[str | None, ...] | None:
    """Return the texts for a principal's access; None if the principal is deleted."""
    alias = ALIASES[kind]
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(columns(kind, using))}"  # noqa: S608
            f" FROM {_TABLES[kind]} {alias} WHERE {alias}.id = %s",
            [pk],
        )
        row: tuple[str | None, ...] | None = cursor.fetchone()
    return row


def members_among(
    pairs: Collection[Pair], using: str = DEFAULT_DB_ALIAS
) -> frozenset[Pair]:
    """Return the pairs (user, group) that are memberships now, in one query."""
    if not pairs:
        return frozenset()
    if isinstance(pairs, Pairs):
        users, groups = sorted(pairs.users), sorted(pairs.groups)
    else:
        users = sorted({user for user, _ in pairs})
        groups = sorted({group for _, group in pairs})
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT u.name, g.name FROM accounts_user_groups ug"  # noqa: S608
            " JOIN accounts_user u ON u.id = ug.user_id"
            " JOIN accounts_group g ON g.id = ug.group_id"
            f" WHERE u.name IN ({', '.join(['%s'] * len(users))})"
            f" AND g.name IN ({', '.join(['%s'] * len(groups))})",
            [*users, *groups],
        )
        found = ((user, group) for user, group in cursor.fetchall())
        return frozenset(pair for pair in found if pair in pairs)
