"""Tokens of a JupyterHub database.

Digests come as they are. The first use of a secret replaces them, see
`tokens.imported`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.conf import settings

from accounts.models import User
from database.locks import keep
from moving.clients import HUB_CLIENT
from moving.importing import Import, Owner
from moving.jupyterhub_database import (
    Row,
    Tolerant,
    local_moment,
    moment,
    text,
    texts,
)
from moving.memory import recall, remember
from moving.servers import link_servers, path_of_note, servers_by_path
from moving.services import link_services
from scopes.definitions import INHERIT
from scopes.grammar import MAX_SCOPES
from services.models import Service
from tokens import jupyterhub_digests
from tokens.actions.values import MAX_NOTE_LENGTH
from tokens.imported import find_imported, source_of, unclaimed_id
from tokens.models import APIToken, CreatedVia, Purpose

# A server gets its token before it is started.
SOON: Final = timedelta(minutes=5)


def import_tokens(work: Import) -> None:
    """Import tokens; link those of running servers and of services' clients."""
    configured = _configured_secrets()
    paths = servers_by_path(work)
    newest: dict[int, int] = {}
    for rows in work.old.chunks("api_tokens"):
        with work.batch():
            _import_tokens(work, rows, configured, paths, newest)
        work.advance("tokens", len(rows))
    # Releases before 2 have a table of its own for those of OAuth clients.
    for rows in work.old.chunks("oauth_access_tokens"):
        with work.batch():
            _import_tokens(work, list(map(_as_oauth_token, rows)), {}, {}, {})
        work.advance("tokens", len(rows))
    link_servers(work)
    link_services(work, newest)


def _configured_secrets() -> dict[str, list[str]]:
    """Return the secrets of the configuration by their first four characters."""
    found: dict[str, list[str]] = defaultdict(list)
    for secret in (*settings.HUB.api_tokens, *settings.HUB.service_tokens):
        found[secret[:4]].append(secret)
    return found


def _as_oauth_token(row: Row) -> Row:
    """Return a row of 1.x's table for OAuth as one of the common table.

    In 1.x such a token told a server or service who its visitor is, and nothing more.
    """
    changed = {"expires_at": local_moment(row["expires_at"]), "scopes": "[]"}
    return Tolerant({**row, **changed})


def _import_tokens(
    work: Import,
    rows: list[Row],
    configured: dict[str, list[str]],
    paths: dict[str, int],
    newest: dict[int, int],
) -> None:
    sources = {row["id"]: source_of(text(row["hashed"])) for row in rows}
    before = recall("token", sources.values())
    roles = _roles_of_tokens(work, rows)
    new: list[APIToken] = []
    links: list[tuple[Row, Owner, int | None]] = []
    marks: dict[str, int] = {}
    for row in rows:
        label = f"a{row['id']}"
        source = sources[row["id"]]
        if source in before:
            work.report.kept["tokens"] += 1
            continue
        is_service = row["user_id"] is None
        owner = (
            work.services.get(row["service_id"])
            if is_service
            else work.users.get(row["user_id"])
        )
        if owner is None:
            work.report.leave("tokens", "their owner did not come", label)
            continue
        expires_at = moment(row["expires_at"])
        if expires_at is not None and expires_at <= work.now:
            work.report.leave("tokens", "expired", label)
            continue
        hashed, prefix = text(row["hashed"]), text(row["prefix"])
        if not prefix or not jupyterhub_digests.is_digest(hashed):
            work.report.leave("tokens", "a digest that can't be verified", label)
            continue
        client_id = text(row["client_id"])
        is_grouped = client_id not in ("", HUB_CLIENT)
        if is_grouped and client_id not in work.clients:
            work.report.leave("tokens", "of servers and clients that ended", label)
            continue
        if not client_id and not work.old.is_before_roles:
            work.report.leave("tokens", "of no client, which JupyterHub refuses", label)
            continue
        if known := _already_here(hashed, prefix, configured):
            marks[source] = known
            work.report.kept["tokens"] += 1
            if is_service:
                newest[owner.pk] = known
            continue
        note = text(row["note"], MAX_NOTE_LENGTH)
        server = None if is_grouped or is_service else paths.get(path_of_note(note))
        if server is not None and not _is_of(work, server, owner, row):
            server = None
        token = APIToken(
            public_id=unclaimed_id(hashed),
            digest=hashed,
            imported_prefix=prefix,
            origin=APIToken.Origin.IMPORTED,
            purpose=_purpose(is_grouped, is_service),
            created_via=CreatedVia.IMPORT,
            created_by="the import",
            note=note,
            scopes=_scopes(work, row, roles.get(row["id"], ())),
            client_id=work.clients[client_id] if is_grouped else "",
            session_id=text(row["session_id"], 255) or None,
            created=moment(row["created"]) or work.now,
            last_activity=moment(row["last_activity"]),
            expires_at=expires_at,
        )
        token.user_id = None if is_service else owner.pk
        token.service_id = owner.pk if is_service else None
        new.append(token)
        links.append((row, owner, server))
    keep(User, *(token.user_id for token in new if token.user_id))
    keep(Service, *(token.service_id for token in new if token.service_id))
    APIToken.objects.bulk_create(new)
    work.report.came["tokens"] += len(new)
    for token, (row, owner, server) in zip(new, links, strict=True):
        marks[sources[row["id"]]] = token.pk
        if token.service_id is not None and not token.client_id:
            newest[owner.pk] = token.pk
        if server is not None:
            work.running[server].token = token.pk
            work.running[server].token_created = token.created
    _name_tokens_of_servers(work, new)
    remember("token", marks)


def _name_tokens_of_servers(work: Import, new: list[APIToken]) -> None:
    """Mark the latest token of each running server as the server's."""
    ours = {token.pk for token in new}
    chosen = [found.token for found in work.running.values() if found.token in ours]
    APIToken.objects.filter(pk__in=chosen).update(purpose=Purpose.SERVER)


def _already_here(
    hashed: str, prefix: str, configured: dict[str, list[str]]
) -> int | None:
    """Return the token here of a secret that the configuration has, too."""
    for secret in configured.get(prefix[:4], ()):
        if jupyterhub_digests.matches(secret, hashed):
            return find_imported(secret)
    return None


def _is_of(work: Import, server: int, owner: Owner, row: Row) -> bool:
    """Return whether a token may be that of a running server.

    Anybody may write the note, so owner and time have to fit, and the latest counts.
    """
    found = work.running[server]
    created = moment(row["created"])
    if found.owner.pk != owner.pk or created is None:
        return False
    if found.started is not None and created > found.started + SOON:
        return False
    return found.token_created is None or created >= found.token_created


def _purpose(is_grouped: bool, is_service: bool) -> Purpose:
    if is_grouped:
        return Purpose.CLIENT
    return Purpose.SERVICE if is_service else Purpose.IMPORT


def _roles_of_tokens(work: Import, rows: list[Row]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    if work.old.has_token_roles:
        span = (rows[0]["id"], rows[-1]["id"])
        for row in work.old.rows("api_token_role_map", order=None, api_token_id=span):
            found[row["api_token_id"]].append(row["role_id"])
    return found


def _scopes(work: Import, row: Row, roles: Iterable[int]) -> list[str]:
    """Return a token's raw scopes; without any it tells only who its owner is."""
    if "scopes" in row:
        found = texts(row["scopes"])
    elif work.old.has_token_roles:
        found = [
            scope for role in roles for scope in work.scopes_of_roles.get(role, ())
        ]
    elif work.old.is_before_roles:
        found = [INHERIT]
    else:
        found = []
    return [text(scope) for scope in dict.fromkeys(found)][:MAX_SCOPES]
