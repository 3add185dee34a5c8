"""Shares and share codes of a JupyterHub database."""

from __future__ import annotations

from typing import Final

from moving.importing import Import
from moving.jupyterhub_database import Row, moment, text, texts
from moving.memory import recall, remember
from scopes.former import base_names, existing
from servers.models import Share, ShareCode
from tokens import jupyterhub_digests
from tokens.imported import source_of, unclaimed_id

# The most that a column of this kind holds.
MOST_COUNTED: Final = 2**31 - 1


def import_shares(work: Import) -> None:
    """Import shares and the codes of share links."""
    for rows in work.old.chunks("shares"):
        with work.batch():
            _import_shares(work, rows)
    for rows in work.old.chunks("share_codes"):
        with work.batch():
            _import_codes(work, rows)


def _import_shares(work: Import, rows: list[Row]) -> None:
    named: dict[str, tuple[Row, int, dict[str, int]]] = {}
    for row in rows:
        server = work.servers.get(row["spawner_id"])
        to: dict[str, int] = {}
        if row["user_id"] in work.users:
            to = {"user_id": work.users[row["user_id"]].pk}
        elif row["group_id"] in work.groups:
            to = {"group_id": work.groups[row["group_id"]][0]}
        expires_at = moment(row["expires_at"])
        if server is None or not to:
            work.report.leave("shares", "their server or recipient did not come")
        elif expires_at is not None and expires_at <= work.now:
            work.report.leave("shares", "expired")
        elif not _base_names(row):
            work.report.leave("shares", "without scopes")
        else:
            named[f"{server} {sorted(to.items())}"] = (row, server, to)
    before = recall("share", named)
    work.report.kept["shares"] += len(before)
    new = {
        key: Share(
            server_id=server,
            **to,
            scopes=_base_names(row),
            created_at=moment(row["created_at"]) or work.now,
        )
        for key, (row, server, to) in named.items()
        if key not in before
    }
    Share.objects.bulk_create(new.values(), ignore_conflicts=True)
    work.report.came["shares"] += len(new)
    remember("share", dict.fromkeys(new, 0))


def _import_codes(work: Import, rows: list[Row]) -> None:
    sources = {row["id"]: source_of(text(row["hashed"])) for row in rows}
    before = recall("code", sources.values())
    new = []
    marks = {}
    for row in rows:
        server = work.servers.get(row["spawner_id"])
        expires_at = moment(row["expires_at"])
        hashed = text(row["hashed"])
        if sources[row["id"]] in before:
            work.report.kept["share codes"] += 1
        elif server is None:
            work.report.leave("share codes", "their server did not come")
        elif expires_at is None or expires_at <= work.now:
            work.report.leave("share codes", "expired")
        elif not row["prefix"] or not jupyterhub_digests.is_digest(hashed):
            work.report.leave("share codes", "a digest that can't be verified")
        else:
            marks[sources[row["id"]]] = 0
            new.append(
                ShareCode(
                    server_id=server,
                    public_id=unclaimed_id(hashed),
                    digest=hashed,
                    imported_prefix=text(row["prefix"]),
                    scopes=_base_names(row),
                    created_at=moment(row["created_at"]) or work.now,
                    expires_at=expires_at,
                    exchange_count=_count(row["exchange_count"]),
                    last_exchanged_at=moment(row["last_exchanged_at"]),
                )
            )
    ShareCode.objects.bulk_create(new)
    work.report.came["share codes"] += len(new)
    remember("code", marks)


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= MOST_COUNTED else 0


def _base_names(row: Row) -> list[str]:
    """Return the scopes of a share without their filter, which is its server."""
    return existing(base_names(texts(row["scopes"])))[0]
