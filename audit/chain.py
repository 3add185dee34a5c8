"""The hash chain of the audit log: what is hashed and signed, and how.

* The *content* of an event is the SHA-256 of its values: a JSON array without spaces,
  with sorted keys and only ASCII characters.
* The *seal* of an event gives it a sequence number. Its *digest* is the SHA-256 of the
  previous seal's digest, the sequence number, the event's id, time and content. So a
  changed, missing or moved event changes all later digests.
* A *checkpoint* is the digest at one sequence number, signed with Ed25519. Nobody can
  compute the chain anew for other events without the private key.

Only the leading controller seals, so the order of the chain is the order of sealing.
Ids are no order, because on PostgreSQL a transaction may commit after others with
higher ids.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from django.conf import settings

from audit.models import Checkpoint
from database.statements import vendor_in_use

# The digest before the first event.
BEGINNING: Final = bytes(32)
# The first value of each signed text, so that the key signs nothing else.
SIGNED: Final = "hub audit checkpoint 1"
# The hashed values of an event, in their order.
VALUES: Final = (
    *("at", "actor_kind", "actor_name", "token_id", "address"),
    *("action", "target_kind", "target_name", "detail"),
)


# Hashes


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def encode(value: Any) -> bytes:
    """Return the one form of a JSON value that is hashed and signed."""
    return _encode(value).encode("ascii")


def moment(at: datetime) -> str:
    """Return a time as it is hashed: UTC, with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def content_of(values: Sequence[Any]) -> bytes:
    """Return the hash of an event's `VALUES`."""
    return sha256(encode(values)).digest()


def link(
    previous: bytes, sequence: int, event_id: int, at: str, content: bytes
) -> bytes:
    """Return the digest of a seal, which depends on all earlier ones."""
    text = f"{previous.hex()}\n{sequence}\n{event_id}\n{at}\n{content.hex()}"
    return sha256(text.encode("ascii")).digest()


# Columns as they are hashed. Their text is read, because a row that somebody changed
# may contain no valid JSON, and because objects of a million times take long.
_TIMES: Final = {
    "sqlite": "{} || ''",
    "postgresql": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
}
_EVENT: Final = (
    *("e.actor_kind", "e.actor_name", "e.token_id", "e.address", "e.action"),
    *("e.target_kind", "e.target_name", "CAST(e.detail AS text) || ''"),
)


def time_column(name: str) -> str:
    """Return the SQL of a time whose text `time_of` understands."""
    return _TIMES[vendor_in_use()].format(name)


def event_columns() -> str:
    """Return the SQL of the hashed columns of an event `e`, for `values_of`."""
    return ", ".join((time_column("e.at"), *_EVENT))


def time_of(text: str) -> str:
    """Return a time of the database as it is hashed; see `moment`."""
    fraction = "" if len(text) > len("2026-01-01 00:00:00") else ".000000"
    return f"{text[:10]}T{text[11:]}{fraction}+00:00"


def values_of(columns: Sequence[Any]) -> tuple[Any, ...]:
    """Return the hashed values of an event from its columns."""
    at, *rest, detail = columns
    return (time_of(at), *rest, parse(detail))


def parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# Signatures


@dataclass(frozen=True, slots=True)
class Statement:
    """A checkpoint as it is signed, exported and verified."""

    kind: str
    sequence: int
    digest: bytes
    at: str
    detail: dict[str, Any]
    public_key: str
    signature: str = ""

    @classmethod
    def of(cls, row: Checkpoint) -> Statement:
        return cls(
            row.kind,
            row.sequence,
            bytes(row.digest),
            moment(row.at),
            row.detail,
            row.public_key,
            row.signature,
        )

    @classmethod
    def read(cls, line: dict[str, Any]) -> Statement:
        """Return the statement in a line of an export, or raise ValueError."""
        texts = [line.get(name) for name in ("kind", "at", "public_key", "signature")]
        sequence, detail = line.get("sequence"), line.get("detail")
        if (
            not all(isinstance(text, str) for text in texts)
            or not isinstance(sequence, int)
            or not isinstance(detail, dict)
        ):
            raise ValueError("a checkpoint lacks a value")
        digest = bytes.fromhex(str(line.get("digest")))
        kind, at, public_key, signature = map(str, texts)
        return cls(kind, sequence, digest, at, detail, public_key, signature)

    @property
    def line(self) -> dict[str, Any]:
        """The statement as a line of an export."""
        return {
            **{"type": "checkpoint", "kind": self.kind, "sequence": self.sequence},
            **{"digest": self.digest.hex(), "at": self.at, "detail": self.detail},
            **{"public_key": self.public_key, "signature": self.signature},
        }

    @property
    def text(self) -> bytes:
        """The signed text."""
        return encode(
            [
                *(SIGNED, self.kind, self.sequence, self.digest.hex(), self.at),
                *(self.detail, self.public_key),
            ]
        )

    @property
    def before(self) -> str:
        """The time before which events may be gone; empty without a purge."""
        return str(self.detail.get("before", "")) if self.kind == "purge" else ""

    def is_signed(self, trusted: Collection[str]) -> bool:
        """Return whether the signature is right and of one of these public keys."""
        if self.public_key not in trusted:
            return False
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(self.signature), self.text)
        except (InvalidSignature, ValueError):
            return False
        return True


def sign(
    kind: str, sequence: int, digest: bytes, at: datetime, detail: dict[str, Any]
) -> Checkpoint:
    """Return a signed checkpoint, which the caller stores."""
    public_key = public_keys()[0]
    unsigned = Statement(kind, sequence, digest, moment(at), detail, public_key)
    signature = _private(settings.AUDIT_KEYS[0]).sign(unsigned.text).hex()
    return Checkpoint(
        kind=kind,
        sequence=sequence,
        digest=digest,
        at=at,
        detail=detail,
        public_key=public_key,
        signature=signature,
    )


def public_keys() -> list[str]:
    """Return this hub's public keys; the private key of the first signs."""
    return [
        _private(key).public_key().public_bytes_raw().hex()
        for key in settings.AUDIT_KEYS
    ]


@cache
def _private(key: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(b"audit " + key).digest())
