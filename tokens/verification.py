"""Verification of tokens, the only one in the hub.

The order of the steps makes it safe:

1. the format. A forged token of our format costs neither a query nor Argon2, unless
   keys were lost: then the digest alone decides.
2. one query for the row, its owner and the rights of both.
3. the state. Revoked, disabled, frozen, expired, owner inactive: refused before the
   cache of this process is used, so that processes need no notification.
4. the digest. A match is cached together with the row as it was read: a changed row is
   read anew, a changed digest is verified anew.
5. the networks of the token. Who has the right secret is told which they are.

A rotation gives the row another public id. An earlier secret is found by the same
query, is valid for a while, and is a tripwire afterwards. A token from JupyterHub's
database is found by its beginning at its first use, and renewed; see `tokens.imported`.

From outside all refusals but the last look alike; the reason is in the debug log.
"""

from __future__ import annotations

import logging
import threading
import time
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
from tokens import (
    activity,
    clients,
    digests,
    format,
    imported,
    keys,
    networks,
    tripwire,
)
from tokens.bearer_query import (
    CLIENT,
    CLIENT_ID,
    DIGEST,
    HAS_NO_FINGERPRINT,
    HEAD,
    ID,
    NETWORKS,
    ORIGIN,
    OWNER_ID,
    OWNER_KIND,
    OWNER_NAME,
    PURPOSE,
    RATE_LIMIT,
    SCOPES,
    SESSION_ID,
    Row,
    bearer_statement,
    fact_columns,
    time_text,
)
from tokens.models import APIToken, PreviousSecret, Purpose

logger = logging.getLogger(__name__)

# Size of the cache: bearers whose secret was verified in this process.
MEMORY: Final = 8_192

# The same in bytes, because a token may have a thousand scopes.
MEMORY_BYTES: Final = 64_000_000


class Bearer:
    """The owner of a request's token, and the token's current rights.

    Cached for as long as the row's `text` stays the same. `memo` holds results that
    other modules computed from it, for exactly as long.
    """

    __slots__ = (
        "access",
        "client_id",
        "digest",
        "memo",
        "networks",
        "owner_id",
        "owner_kind",
        "owner_name",
        "previous_id",
        "public_id",
        "purpose",
        "rate_limit",
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

    def __init__(
        self,
        text: str,
        row: Row,
        public_id: str,
        digest: str,
        previous_id: int | None = None,
    ) -> None:
        self.text = text
        self.row = row
        # Of the secret that was presented, which may be an earlier one.
        self.public_id = public_id
        self.digest = digest
        self.previous_id = previous_id
        self.token_id: int = row[ID]
        self.owner_kind: str = row[OWNER_KIND]
        self.owner_id: int = row[OWNER_ID]
        self.owner_name: str = row[OWNER_NAME]
        self.session_id: str | None = row[SESSION_ID]
        self.client_id: str = row[CLIENT_ID]
        self.purpose: str = row[PURPOSE]
        self.networks: list[str] | None = orjson.loads(row[NETWORKS] or "null")
        self.rate_limit: int | None = row[RATE_LIMIT]
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
        # Bytes, estimated: the row as text and parsed, responses made from it, and the
        # access, which others may share.
        self.weight = 6 * len(text) + self.access.weight + 2_000

    def __repr__(self) -> str:
        return f"<Bearer a{self.token_id} of {self.owner_kind} {self.owner_name}>"

    @property
    def facts(self) -> dict[str, Any]:
        """The data that `register_facts` added, by name."""
        names = fact_columns(self.owner_kind, vendor_in_use())
        return dict(zip(names, self.row[len(self.row) - len(names) :], strict=True))

    @property
    def owner(self) -> User | Service:
        """The row of the owner, read at the first use."""
        model = User if self.owner_kind == "user" else Service
        return model.objects.get(pk=self.owner_id)

    def actor(self, address: str = "") -> Actor:
        """Return the actor for the audit log."""
        return Actor(self.owner_kind, self.owner_name, self.token_id, address)


# The cache's key is a MAC of the secret, under a key that this process generated, so
# that a dump of the cache reveals no secret. BLAKE2 is keyed itself (RFC 7693), and
# takes a third of the time of an HMAC.
_proved: dict[bytes, Bearer] = {}

_held = 0

_process_key = token_bytes(32)

_keys_are_lost = False

# A token that many requests present at once is verified once.
_memory = threading.Lock()

_flights: dict[bytes, threading.Lock] = {}


@sensitive_variables()
def verify(secret: str, address: str | None = None) -> Bearer | None:
    """Return the bearer of this secret; None for any reason of refusal.

    `address` is that of the client; without one, as for a service that asks about the
    token of a visitor, the networks are not compared. The use of the token is noted
    for `last_activity`.
    """
    if len(secret) > format.MAX_LENGTH or not secret.isascii():
        return _refuse("no token")
    mac = blake2b(secret.encode(), key=_process_key, digest_size=32).digest()
    bearer = _proved.get(mac)
    if bearer is not None:
        # The format was checked before the secret was cached, and the check takes as
        # long as the query.
        public_id = bearer.public_id
    elif not (public_id := public_id_of(secret)):
        return _refuse("forged")
    # The kind of a token's owner never changes.
    kind = "" if bearer is None else bearer.owner_kind
    found = None
    if bearer is not None and bearer.previous_id is None:
        found = first_row(bearer_statement(vendor_in_use(), kind), (public_id,))
    if found is None:
        # A new secret for this process, or one that was replaced since.
        statement = bearer_statement(vendor_in_use(), kind, with_previous=True)
        found = first_row(statement, (public_id,) * 3)
        if found is None and imported.claim(secret):
            # The first use of a token from JupyterHub's database.
            found = first_row(statement, (public_id,) * 3)
    if found is None:
        return _refuse("unknown")
    dead, expires_at, text, *previous = found
    previous_id, previous_digest, ends_at = previous or (None, None, None)
    if dead:
        return _refuse(dead)
    now = time.time()
    if expires_at and expires_at <= time_text(now):
        return _refuse("expired")
    if (
        bearer is None
        or bearer.text != text
        or bearer.previous_id != previous_id
        or not bearer.settled
    ):
        bearer = _admit(secret, mac, text, public_id, previous_id, previous_digest)
        if bearer is None:
            return _refuse("wrong secret")
    if ends_at and ends_at <= time_text(now):
        tripwire.trip(bearer.previous_id or 0, address or "")
        return _refuse("replaced")
    if bearer.networks is not None and address is not None:
        networks.require(bearer.networks, address)
    activity.tokens.note(bearer.token_id, now)
    if bearer.owner_kind == "user" and bearer.purpose != Purpose.SERVER:
        activity.users.note(bearer.owner_id, now)
    return bearer


@sensitive_variables()
def is_forged(secret: str) -> bool:
    """Tell without a query whether a token of the hub's format is forged.

    A token that this process has verified is found at once.
    """
    if not format.is_ours(secret):
        return False
    mac = blake2b(secret.encode(), key=_process_key, digest_size=32).digest()
    return mac not in _proved and not public_id_of(secret)


@sensitive_variables()
def proves(secret: str, token: APIToken, address: str | None = None) -> bool:
    """Return whether a secret is that of this token, whose row was just read.

    For programs that authenticate by the token, but not as its owner, as OAuth clients
    do. What refuses the token elsewhere refuses it here: its state, its networks, and
    the end of an earlier secret, which is a tripwire. A wrong secret costs no Argon2.
    """
    now = timezone.now()
    public_id = ""
    if len(secret) <= format.MAX_LENGTH and secret.isascii():
        public_id = public_id_of(secret)
    is_stopped = (
        token.is_ended
        or token.disabled_at is not None
        or token.frozen_at is not None
        or (token.user is not None and not token.user.is_active)
    )
    if not public_id or is_stopped:
        return False
    if public_id != token.public_id and imported.claim(secret):
        token.refresh_from_db(fields=("public_id", "digest"))
    earlier = None
    digest = token.digest
    if public_id != token.public_id:
        earlier = token.previous_secrets.filter(public_id=public_id).first()
        if earlier is None:
            return False
        digest = earlier.digest
    if not digests.matches(secret, digest):
        return False
    if earlier is not None and earlier.ends_at <= now:
        tripwire.trip(earlier.pk, address or "")
        return False
    if token.networks is not None and address is not None:
        networks.require(token.networks, address)
    activity.tokens.note(token.pk, now.timestamp())
    return True


@sensitive_variables()
def find_secret(secret: str) -> APIToken | PreviousSecret | None:
    """Return the row of a secret, in any state, after the secret was verified.

    This is no authentication: the token may be expired, disabled or revoked. The row is
    that of the token, or of its earlier secret until the overlap of that ends.
    """
    if len(secret) > format.MAX_LENGTH or not secret.isascii():
        return None
    public_id = public_id_of(secret)
    if not public_id:
        return None
    imported.claim(secret)
    known = APIToken.objects.filter(public_id=public_id)
    token = known.select_related("user", "service").first()
    if token is not None:
        return token if digests.matches(secret, token.digest) else None
    replaced = PreviousSecret.objects.filter(
        public_id=public_id, ends_at__gt=timezone.now()
    )
    earlier = replaced.select_related("token__user", "token__service").first()
    if earlier is None or not digests.matches(secret, earlier.digest):
        return None
    return earlier


def forget() -> None:
    """Clear the cache of verified secrets and the state of lost keys."""
    global _held, _keys_are_lost
    with _memory:
        _proved.clear()
        _held = 0
    _keys_are_lost = False
    tripwire.forget()


def look_for_lost_keys() -> None:
    """Accept tags without a key if tokens are in use whose keys are missing.

    Called by each process that answers requests, once it runs. After a restore of a
    database without its keys, tokens are slower, not invalid.
    """
    global _keys_are_lost
    known = [format.key_id(key) for key in keys.tag_keys()]
    now = timezone.now()
    replaced = PreviousSecret.objects.filter(ends_at__gt=now, token__revoked_at=None)
    _keys_are_lost = any(
        rows.filter(origin=APIToken.Origin.GENERATED)
        .exclude(tag_key__in=known)
        .exists()
        for rows in (APIToken.objects.active(now), replaced)
    )
    if _keys_are_lost:
        logger.warning(
            "There are tokens whose tag key is lost. They stay valid, but forged tokens"
            " cost a query and an Argon2 verification until these are revoked."
        )


def public_id_of(secret: str) -> str:
    """Return the public id of a token; empty if the token is forged."""
    if not format.is_ours(secret):
        return format.lookup_key(secret, keys.lookup_hash_key())
    # With an empty list of keys every tag is accepted.
    known_keys = () if _keys_are_lost else keys.tag_keys()
    if not format.is_genuine(secret, known_keys):
        return ""
    return format.public_id(secret)


def _refuse(reason: str) -> Bearer | None:
    logger.debug("Refused a token: %s", reason)
    return None


@sensitive_variables()
def _admit(
    secret: str,
    mac: bytes,
    text: str,
    public_id: str,
    previous_id: int | None,
    previous_digest: str | None,
) -> Bearer | None:
    """Return a bearer from a row, after the secret was verified.

    An earlier secret has an id and a digest of its own.
    """
    row: Row = orjson.loads(text)
    digest = previous_digest or row[DIGEST]
    if not _is_proved(mac, row, digest):
        lock = _flights.setdefault(mac, threading.Lock())
        try:
            with lock:
                if not _is_proved(mac, row, digest):
                    if not digests.matches(secret, digest):
                        return None
                    if previous_id is None:
                        row = _renew(secret, row)
                        digest = row[DIGEST]
                    # Cached before the lock is released, so that the next waiter does
                    # not verify the same secret again.
                    with _memory:
                        _remember(
                            mac, Bearer(text, row, public_id, digest, previous_id)
                        )
        finally:
            _flights.pop(mac, None)
    bearer = Bearer(text, row, public_id, digest, previous_id)
    with _memory:
        _remember(mac, bearer)
    return bearer


def _remember(mac: bytes, bearer: Bearer) -> None:
    """Cache a bearer, and drop the oldest ones beyond the limits."""
    global _held
    before = _proved.pop(mac, None)
    if before is not None:
        _held -= before.weight
    _proved[mac] = bearer
    _held += bearer.weight
    while len(_proved) > MEMORY or (_held > MEMORY_BYTES and len(_proved) > 1):
        _held -= _proved.pop(next(iter(_proved))).weight


def _is_proved(mac: bytes, row: Row, digest: str) -> bool:
    known = _proved.get(mac)
    return known is not None and known.row[ID] == row[ID] and known.digest == digest


@sensitive_variables("secret", "changed")
def _renew(secret: str, row: Row) -> Row:
    """Store a digest with current parameters if the stored one has others.

    A row of an older hub gets its fingerprint, too.
    """
    changed = {}
    if digests.is_outdated(row[DIGEST], row[ORIGIN]):
        changed["digest"] = digests.digest(secret, row[ORIGIN])
    if row[HAS_NO_FINGERPRINT]:
        changed["fingerprint"] = digests.fingerprint(secret)
    if not changed:
        return row
    APIToken.objects.filter(pk=row[ID], digest=row[DIGEST]).update(**changed)
    return (*row[:DIGEST], changed.get("digest", row[DIGEST]), *row[DIGEST + 1 :])
