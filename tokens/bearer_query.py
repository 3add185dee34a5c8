"""The one query of a token: its state, its owner, and the rights and facts of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from accounts.rights import columns
from tokens import clients

Row = Sequence[Any]

# Columns that may refuse the token, whatever the other columns contain.
DEAD: Final = (
    "CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'"
    " WHEN t.disabled_at IS NOT NULL THEN 'disabled'"
    " WHEN t.frozen_at IS NOT NULL THEN 'frozen'"
    # Only a token that came by an exchange needs such a row.
    " WHEN t.created_via = 'exchange' AND NOT EXISTS ("
    "SELECT 1 FROM tokens_tokenexchange e"
    " LEFT JOIN tokens_apitoken a ON a.id = e.parent_id WHERE e.token_id = t.id"
    " AND (e.parent_id IS NULL OR (a.revoked_at IS NULL AND a.disabled_at IS NULL"
    " AND a.frozen_at IS NULL AND a.rate_limit IS NULL AND a.scopes = e.scopes"
    " AND (a.expires_at IS NULL OR a.expires_at >= t.expires_at)"
    " AND COALESCE(CAST(a.networks AS text), '')"
    " = COALESCE(CAST(e.networks AS text), '')))) THEN 'changed parent'"
    " WHEN {inactive} THEN 'inactive owner' END"
)

# The beginning of each row; the owner's rights and then the facts follow.
HEAD: Final = (
    "t.id",
    "t.digest",
    "t.origin",
    # JSON is selected as text, because results are cached by text. SQLite treats text
    # from a JSON function as JSON until something is appended.
    "CAST(t.scopes AS text) || ''",
    "t.client_id",
    "t.session_id",
    "t.purpose",
    "CAST(t.networks AS text) || ''",
    "t.rate_limit",
    "CASE WHEN t.fingerprint = '' THEN 1 ELSE 0 END",
    "{client}",
    "{owner_kind}",
    "{owner_id}",
    "{owner_name}",
)

ID, DIGEST, ORIGIN, SCOPES, CLIENT_ID, SESSION_ID = range(6)

PURPOSE, NETWORKS, RATE_LIMIT, HAS_NO_FINGERPRINT = range(6, 10)

CLIENT, OWNER_KIND, OWNER_ID, OWNER_NAME = range(10, 14)

# Columns of an owner before its rights, for each kind of owner.
OWNER: Final = {
    "user": {
        "inactive": "NOT u.is_active",
        "owner_kind": "'user'",
        "owner_id": "t.user_id",
        "owner_name": "u.name",
    },
    "service": {
        "inactive": "FALSE",
        "owner_kind": "'service'",
        "owner_id": "t.service_id",
        "owner_name": "s.name",
    },
}

OWNER_TABLE: Final = {
    "user": "accounts_user u ON u.id = t.user_id",
    "service": "services_service s ON s.id = t.service_id",
}

# Returns SQL expressions by name for a kind of owner and a database vendor; the aliases
# of the tables are t (token), u (user) and s (service).
BuildFacts = Callable[[str, str], Mapping[str, str]]

_facts: list[BuildFacts] = []


def register_facts(build: BuildFacts) -> None:
    """Have every verification read more data about the owner in its one query.

    For `AppConfig.ready()` of rooms further right: a response from these facts costs no
    query of its own.
    """
    if build not in _facts:
        _facts.append(build)
        bearer_statement.cache_clear()
        fact_columns.cache_clear()


@cache
def bearer_statement(
    vendor: str, kind: str = "", *, with_previous: bool = False
) -> str:
    """Return the query: columns that may refuse the token, and all else as one text.

    The text is compared at every request and parsed only after a change. With columns,
    most of the time would go into making objects of them. The columns are the same for
    any owner and for one `kind`; the latter is shorter, and PostgreSQL prepares every
    part of a query, used or not.

    `with_previous` finds the token of an earlier secret as well, and adds the id, the
    digest and the end of that. Its parameter is the public id, three times.
    """
    is_postgresql = vendor == "postgresql"

    def moment(column: str) -> str:
        if is_postgresql:
            return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        return f"{column} || ''"

    def of_owner(of_user: str, of_service: str) -> str:
        # Only the owner's own expressions are evaluated, never both.
        if kind:
            return of_user if kind == "user" else of_service
        return f"CASE WHEN t.service_id IS NULL THEN {of_user} ELSE {of_service} END"

    user, service = (
        (*columns(each), *fact_columns(each, vendor).values()) for each in OWNER
    )
    rest = [of_owner(*both) for both in zip(user, service, strict=True)]
    owner = {
        name: of_owner(OWNER["user"][name], OWNER["service"][name])
        for name in OWNER["user"]
    }
    head = [part.format(client=clients.column(vendor), **owner) for part in HEAD]
    parts = ", ".join((*head, *(f"{part} || ''" for part in rest)))
    array = (
        f"json_build_array({parts})::text" if is_postgresql else f"json_array({parts})"
    )
    # An owner of another kind gives no row, so the token is refused.
    joins = (
        f"JOIN {OWNER_TABLE[kind]}"
        if kind
        else " ".join(f"LEFT JOIN {table}" for table in OWNER_TABLE.values())
    )
    wanted = f"{DEAD.format(**owner)}, {moment('t.expires_at')}, {array}"
    if not with_previous:
        return (
            f"SELECT {wanted} FROM tokens_apitoken t {joins}"  # noqa: S608
            " WHERE t.public_id = %s"
        )
    return (
        f"SELECT {wanted}, p.id, p.digest, {moment('p.ends_at')}"  # noqa: S608
        f" FROM tokens_apitoken t {joins}"
        " LEFT JOIN tokens_previoussecret p"
        " ON p.public_id = %s AND p.token_id = t.id"
        " WHERE t.id = COALESCE("
        "(SELECT id FROM tokens_apitoken WHERE public_id = %s),"
        " (SELECT token_id FROM tokens_previoussecret WHERE public_id = %s))"
    )


@cache
def fact_columns(kind: str, vendor: str) -> dict[str, str]:
    """Return all facts by name, in one order for both kinds; NULL if missing."""
    facts = {
        of: {name: sql for build in _facts for name, sql in build(of, vendor).items()}
        for of in ("user", "service")
    }
    names = dict.fromkeys((*facts["user"], *facts["service"]))
    return {name: facts[kind].get(name, "NULL") for name in names}


def time_text(moment: float) -> str:
    """Return a time in the format of the database."""
    return datetime.fromtimestamp(moment, UTC).isoformat(" ", "microseconds")[:26]
