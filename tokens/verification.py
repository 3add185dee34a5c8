"""From a secret to whoever presents it: the only way in for tokens.

The order of the steps is the safety of it:

1. the form. What was forged in the form of ours costs neither a query nor Argon2,
   unless keys were lost: then the gate stands open and the digest decides.
2. one query for the row, its owner and what both may do.
3. the state. Revoked, disabled, expired, owner inactive: refused before anything
   that this process remembers is asked, so no process need ever be told.
4. the digest. What matched once is remembered, bound to the row as it was read: a
   changed row is looked at anew, a changed digest is proved anew.

From outside all refusals look alike; the reason goes to the debug log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from secrets import token_bytes
from typing import Any, Final

import orjson
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from accounts.rights import access_of_token, columns, within_reach
from audit.models import Actor
from database.statements import first_row, vendor_in_use
from scopes.access import Access
from services.models import Service
from tokens import activity, clients, digests, format, keys
from tokens.models import APIToken

logger = logging.getLogger(__name__)

# What is remembered at most: bearers whose secret was proved in this process.
MEMORY: Final = 8_192
# The same in bytes: a token may name a thousand scopes.
MEMORY_BYTES: Final = 64_000_000

Row = Sequence[Any]

# What may refuse a token, whatever else is known of it.
DEAD: Final = (
    "CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'"
    " WHEN t.disabled_at IS NOT NULL THEN 'disabled'"
    " WHEN {inactive} THEN 'inactive owner' END"
)
# The beginning of each row; the owner's rights and then the facts follow.
HEAD: Final = (
    "t.id",
    "t.digest",
    "t.origin",
    # JSON goes in as text, for what is worked out from it is remembered by its text;
    # and SQLite takes a text for JSON where it came from, until it is appended to.
    "CAST(t.scopes AS text) || ''",
    "t.client_id",
    "t.session_id",
    "CASE WHEN substr(t.note, 1, 10) = 'Server at ' THEN 1 ELSE 0 END",
    "{client}",
    "{owner_kind}",
    "{owner_id}",
    "{owner_name}",
)
ID, DIGEST, ORIGIN, SCOPES, CLIENT_ID, SESSION_ID = range(6)
OF_SERVER, CLIENT, OWNER_KIND, OWNER_ID, OWNER_NAME = range(6, 11)
# What is known of an owner before its rights, for each kind of owner.
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

# Writes SQL expressions by name for a kind of owner and a database vendor; the
# tables are known as t (token), u (user) and s (service).
BuildFacts = Callable[[str, str], Mapping[str, str]]
_facts: list[BuildFacts] = []


def register_facts(build: BuildFacts) -> None:
    """Have every verification read more about the owner in its one query.

    For `AppConfig.ready()` of rooms further right: an answer that is made of these
    facts costs no query of its own.
    """
    if build not in _facts:
        _facts.append(build)
        _statement.cache_clear()
        _fact_columns.cache_clear()


class Bearer:
    """Who presents a token, and what the token may do at this moment.

    Kept for as long as the row's `text` stays as it was read. `memo` keeps what
    others worked out from it, for exactly as long.
    """

    __slots__ = (
        "access",
        "client_id",
        "is_of_server",
        "memo",
        "owner_id",
        "owner_kind",
        "owner_name",
        "public_id",
        "row",
        "session_id",
        "settled",
        "text",
        "token_id",
        "weight",
    )

    access: Access
    settled: bool
    memo: dict[Any, Any]

    def __init__(self, text: str, row: Row, public_id: str) -> None:
        self.text = text
        self.row = row
        self.public_id = public_id
        self.token_id: int = row[ID]
        self.owner_kind: str = row[OWNER_KIND]
        self.owner_id: int = row[OWNER_ID]
        self.owner_name: str = row[OWNER_NAME]
        self.session_id: str | None = row[SESSION_ID]
        self.client_id: str = row[CLIENT_ID]
        self.is_of_server = bool(row[OF_SERVER])
        texts = row[len(HEAD) : len(HEAD) + len(columns("user"))]
        rights = within_reach(self.client_id, texts)
        self.access, self.settled = access_of_token(
            row[SCOPES],
            clients.identity(row[CLIENT]),
            self.owner_kind,
            self.owner_name,
            *rights,
        )
        self.memo = {}
        # Bytes, estimated: the row as text and taken apart, answers made of it, and
        # the access, which others may share.
        self.weight = 6 * len(text) + self.access.weight + 2_000

    def __repr__(self) -> str:
        return f"<Bearer a{self.token_id} of {self.owner_kind} {self.owner_name}>"

    @property
    def facts(self) -> dict[str, Any]:
        """What `register_facts` asked for, by name."""
        names = _fact_columns(self.owner_kind, vendor_in_use())
        return dict(zip(names, self.row[len(self.row) - len(names) :], strict=True))

    @property
    def owner(self) -> User | Service:
        """The row of the owner, read when asked for."""
        model = User if self.owner_kind == "user" else Service
        return model.objects.get(pk=self.owner_id)

    def actor(self, address: str = "") -> Actor:
        """Say who acts, for the record."""
        return Actor(self.owner_kind, self.owner_name, self.token_id, address)


# By a MAC of the secret, under a key that this process made for itself: no memory of
# it gives a secret away. BLAKE2 has a key of its own (RFC 7693), and takes a third of
# the time of an HMAC.
_proved: dict[bytes, Bearer] = {}
_held = 0
_process_key = token_bytes(32)

_keys_are_lost = False

# A token that many present at once is verified once.
_memory = threading.Lock()
_flights: dict[bytes, threading.Lock] = {}


@sensitive_variables()
def verify(secret: str) -> Bearer | None:
    """Find out who presents this secret; None for whatever reason it is refused.

    Its use is noted for `last_activity`.
    """
    if len(secret) > format.MAX_LENGTH or not secret.isascii():
        return _refuse("no token")
    mac = blake2b(secret.encode(), key=_process_key, digest_size=32).digest()
    bearer = _proved.get(mac)
    if bearer is not None:
        # Its form was checked when it was proved, and takes as long as the query.
        public_id = bearer.public_id
    elif not (public_id := _public_id(secret)):
        return _refuse("forged")
    # A token keeps the kind of its owner.
    kind = "" if bearer is None else bearer.owner_kind
    found = first_row(_statement(vendor_in_use(), kind), (public_id,))
    if found is None:
        return _refuse("unknown")
    dead, expires_at, text = found
    if dead:
        return _refuse(dead)
    now = time.time()
    if expires_at and expires_at <= _text(now):
        return _refuse("expired")
    if bearer is None or bearer.text != text or not bearer.settled:
        bearer = _admit(secret, mac, text, public_id)
        if bearer is None:
            return _refuse("wrong secret")
    activity.tokens.note(bearer.token_id, now)
    if bearer.owner_kind == "user" and not bearer.is_of_server:
        activity.users.note(bearer.owner_id, now)
    return bearer


def forget() -> None:
    """Forget every secret that was proved, and which keys are lost."""
    global _held, _keys_are_lost
    with _memory:
        _proved.clear()
        _held = 0
    _keys_are_lost = False


def look_for_lost_keys() -> None:
    """Open the gate if tokens are in use whose tags no key of ours can check.

    Called by each process that answers requests, once it runs. Whoever restores a
    database without the keys that belong to it has slower tokens, not dead ones.
    """
    global _keys_are_lost
    known = [format.key_id(key) for key in keys.tag_keys()]
    _keys_are_lost = (
        APIToken.objects.active(timezone.now())
        .filter(origin=APIToken.Origin.MINTED)
        .exclude(tag_key__in=known)
        .exists()
    )
    if _keys_are_lost:
        logger.warning(
            "There are tokens whose tag key is lost. They stay valid, but forged tokens"
            " cost a query and an Argon2 verification until these are revoked."
        )


def _public_id(secret: str) -> str:
    """Return what finds the row of a token; nothing if the token is forged."""
    if not format.is_ours(secret):
        return format.handle(secret, keys.handle_key())
    # An empty list of keys lets every tag pass.
    known_keys = () if _keys_are_lost else keys.tag_keys()
    if not format.is_genuine(secret, known_keys):
        return ""
    return format.public_id(secret)


def _refuse(reason: str) -> Bearer | None:
    logger.debug("Refused a token: %s", reason)
    return None


def _admit(secret: str, mac: bytes, text: str, public_id: str) -> Bearer | None:
    """Make a bearer of a row, after proof that the secret belongs to it."""
    row: Row = orjson.loads(text)
    if not _is_proved(mac, row):
        lock = _flights.setdefault(mac, threading.Lock())
        try:
            with lock:
                if not _is_proved(mac, row):
                    if not digests.matches(secret, row[DIGEST]):
                        return None
                    row = _renew_digest(secret, row)
                    # Remembered before the lock is free, or the next in line would
                    # prove the same secret again.
                    with _memory:
                        _remember(mac, Bearer(text, row, public_id))
        finally:
            _flights.pop(mac, None)
    bearer = Bearer(text, row, public_id)
    with _memory:
        _remember(mac, bearer)
    return bearer


def _remember(mac: bytes, bearer: Bearer) -> None:
    """Keep a bearer, and let the oldest go while they are too many or too large."""
    global _held
    before = _proved.pop(mac, None)
    if before is not None:
        _held -= before.weight
    _proved[mac] = bearer
    _held += bearer.weight
    while len(_proved) > MEMORY or (_held > MEMORY_BYTES and len(_proved) > 1):
        _held -= _proved.pop(next(iter(_proved))).weight


def _is_proved(mac: bytes, row: Row) -> bool:
    known = _proved.get(mac)
    return (
        known is not None
        and known.row[ID] == row[ID]
        and known.row[DIGEST] == row[DIGEST]
    )


def _renew_digest(secret: str, row: Row) -> Row:
    """Store a digest with today's parameters if the stored one has others."""
    if not digests.is_outdated(row[DIGEST], row[ORIGIN]):
        return row
    renewed = digests.digest(secret, row[ORIGIN])
    APIToken.objects.filter(pk=row[ID], digest=row[DIGEST]).update(digest=renewed)
    return (*row[:DIGEST], renewed, *row[DIGEST + 1 :])


@cache
def _statement(vendor: str, kind: str = "") -> str:
    """Write the one query: what may refuse the token, and all else as one text.

    The text is compared at every request and taken apart when it has changed. As
    columns, most of the time would go into making objects of them. It is the same
    whether the query is for any owner or for one `kind`; that is shorter, and
    PostgreSQL sets about every part of a query, whether it comes to it or not.
    """
    is_postgresql = vendor == "postgresql"
    expires_at = (
        "to_char(t.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        if is_postgresql
        else "t.expires_at || ''"
    )

    def of_owner(of_user: str, of_service: str) -> str:
        # Only the owner's own expressions are worked out, never both.
        if kind:
            return of_user if kind == "user" else of_service
        return f"CASE WHEN t.service_id IS NULL THEN {of_user} ELSE {of_service} END"

    user, service = (
        (*columns(each), *_fact_columns(each, vendor).values()) for each in OWNER
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
    # Of another kind than was said there is no row, so the token is refused.
    joins = (
        f"JOIN {OWNER_TABLE[kind]}"
        if kind
        else " ".join(f"LEFT JOIN {table}" for table in OWNER_TABLE.values())
    )
    return (
        f"SELECT {DEAD.format(**owner)}, {expires_at}, {array}"  # noqa: S608
        f" FROM tokens_apitoken t {joins} WHERE t.public_id = %s"
    )


@cache
def _fact_columns(kind: str, vendor: str) -> dict[str, str]:
    """Name all facts, in the same order for both kinds; NULL where there is none."""
    facts = {
        of: {name: sql for build in _facts for name, sql in build(of, vendor).items()}
        for of in ("user", "service")
    }
    names = dict.fromkeys((*facts["user"], *facts["service"]))
    return {name: facts[kind].get(name, "NULL") for name in names}


def _text(moment: float) -> str:
    """Write a moment as the database writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(" ", "microseconds")[:26]
