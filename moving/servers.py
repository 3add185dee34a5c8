"""Servers of a JupyterHub database."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from accounts.models import NAME_LENGTH, User
from database.batches import batches
from database.locks import keep, lock_all
from moving.importing import Import, Owner, Running
from moving.jupyterhub_database import Row, loaded, moment, text
from moving.memory import recall, remember
from moving.people import (
    DELETED,
    ODD_NAME,
)
from oauth.models import OAuthClient
from servers.models import Server
from servers.names import MAX_USER_OPTIONS

SERVER_CLIENT: Final = "jupyterhub-user-"


def import_servers(work: Import) -> None:
    """Import servers; those that run are adopted by the next controller."""
    addresses = {row["id"]: row for row in work.old.rows("servers")}
    shared = {
        row["spawner_id"]
        for table in ("shares", "share_codes")
        for row in work.old.rows(table)
    }
    for rows in work.old.chunks("spawners"):
        with work.batch():
            _import_servers(work, rows, addresses, shared)


def _import_servers(
    work: Import, rows: list[Row], addresses: dict[int, Row], shared: set[int]
) -> None:
    owned = [
        (row, work.users[row["user_id"]])
        for row in rows
        if row["user_id"] in work.users
    ]
    keep(User, *(owner.pk for _, owner in owned))
    keys = {row["id"]: f"{owner.name}/{text(row['name'])}" for row, owner in owned}
    before = recall("server", keys.values())
    found = Server.objects.filter(user__in=[owner.pk for _, owner in owned])
    lock_all(found)
    here = {(server.user_id, server.name): server for server in found}
    new: dict[int, Server] = {}
    running: list[tuple[Row, Owner, Server]] = []
    met: set[tuple[int, str]] = set()
    # Of several rows with one name, the one that runs comes first.
    owned.sort(key=lambda pair: addresses.get(pair[0]["server_id"]) is None)
    for row, owner in owned:
        name = text(row["name"])
        key = keys[row["id"]]
        server = here.get((owner.pk, name))
        address = addresses.get(row["server_id"])
        if server is None and key in before:
            work.report.leave("servers", DELETED, key)
            continue
        if len(name) > NAME_LENGTH or "/" in name:
            work.report.leave("servers", ODD_NAME, key[:NAME_LENGTH])
            continue
        if (owner.pk, name) in met:
            # JupyterHub's table allows that, and its pages show one of them.
            work.report.leave("servers", "of a name that is there twice", key)
            continue
        met.add((owner.pk, name))
        if server is None:
            server = Server(user_id=owner.pk, name=name)
            if not _has_contents(row, address, shared):
                continue
            _fill(work, server, row, key)
            new[row["id"]] = server
        else:
            work.servers[row["id"]] = server.pk
            if key not in before and not server.is_active and not server.was_started:
                _fill(work, server, row, key)
                server.save()
            else:
                work.report.kept["servers"] += 1
                if address is not None and server.is_active:
                    identifier = _client_id(row, owner.name, name)
                    work.server_clients[identifier] = key
        if address is not None and _may_adopt(work, row, owner, server, key):
            running.append((row, owner, server))
    for row, _owner, server in running:
        _run(server, row, addresses[row["server_id"]])
    Server.objects.bulk_create(new.values())
    adopted = [server for _, _, server in running if server not in new.values()]
    Server.objects.bulk_update(adopted, RUN, batch_size=250)
    work.report.came["servers"] += len(new)
    work.report.came["running servers"] += len(running)
    for pk, server in new.items():
        work.servers[pk] = server.pk
    for row, owner, server in running:
        name = server.name
        identifier = _client_id(row, owner.name, name)
        work.server_clients[identifier] = keys[row["id"]]
        work.running[server.pk] = Running(
            owner=owner,
            name=name,
            base_url=text(addresses[row["server_id"]]["base_url"]),
            client_id=identifier,
            started=server.started,
        )
    remember(
        "server",
        {
            keys[pk]: work.servers[pk]
            for pk in keys
            if pk in work.servers and keys[pk] not in before
        },
    )


RUN: Final = ("state", "url", "ready", "wanted", "generation", "settled", "started")


def _has_contents(row: Row, address: Row | None, shared: set[int]) -> bool:
    """Return whether a row has contents; each person has one for the default server."""
    return bool(
        row["name"]
        or address is not None
        or row["id"] in shared
        or loaded(row["user_options"])
        or loaded(row["state"])
        or row["last_activity"]
    )


def _fill(work: Import, server: Server, row: Row, key: str) -> None:
    options = loaded(row["user_options"])
    if len(str(row["user_options"] or "")) > MAX_USER_OPTIONS:
        work.report.leave("start options", "too long", key)
        options = None
    state = loaded(row["state"])
    server.display_name = text(row["display_name"], 255)
    server.user_options = options if isinstance(options, dict) else None
    server.state = state if isinstance(state, dict) and state else None
    server.started = moment(row["started"])
    server.last_activity = moment(row["last_activity"])
    server.created = server.started or work.now
    # The next start is the second one.
    server.generation = server.settled = 1 if server.started else 0


def _may_adopt(work: Import, row: Row, owner: Owner, server: Server, key: str) -> bool:
    """Return whether a server that ran in the old hub is to run here."""
    if server.is_active:
        return False
    started = moment(row["started"])
    if server.pk is None or not server.was_started:
        return True
    if server.started is not None and (started is None or started <= server.started):
        # It was stopped here since, or has ended.
        return server.pk not in recall("server", [key]).values()
    return True


def _run(server: Server, row: Row, address: Row) -> None:
    """Make a row that of a running server, which the controller verifies first."""
    host = text(address["ip"]) or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    state = loaded(row["state"])
    server.state = state if isinstance(state, dict) else {}
    server.url = (
        f"{text(address['proto']) or 'http'}://{host}:{address['port']}"
        f"{text(address['base_url'])}"
    )[:2047]
    server.ready, server.wanted = True, Server.Wanted.RUNNING
    server.generation += 1
    server.settled = server.generation
    server.started = moment(row["started"]) or server.started


def _client_id(row: Row, owner: str, name: str) -> str:
    """Return the id of a server's client, which 1.x does not store with the server."""
    if row["oauth_client_id"]:
        return text(row["oauth_client_id"])
    parts = [owner, name] if name else [owner]
    return SERVER_CLIENT + "-".join(quote(part, safe="") for part in parts)


def path_of_note(note: str) -> str:
    """Return the path in the note of a server's token, or ""."""
    found = re.fullmatch(r"Server at (/\S+/)", note)
    return found[1] if found else ""


def servers_by_path(work: Import) -> dict[str, int]:
    """Return the running servers by the paths in their tokens' notes."""
    return {found.base_url: pk for pk, found in work.running.items()}


def link_servers(work: Import) -> None:
    """Give each running server its token, which is also the secret of its client."""
    found: Iterable[tuple[int, Running]] = work.running.items()
    for some in batches(found, 250):
        with work.batch():
            for pk, server in some:
                if server.token is None:
                    work.report.leave(
                        "servers",
                        "run without a token that is known, so that they end with the "
                        "next stop only",
                        f"{server.owner.name}/{server.name}",
                    )
                    continue
                Server.objects.filter(pk=pk).update(token=server.token)
                OAuthClient.objects.filter(
                    identifier=server.client_id, secret=None
                ).update(secret=server.token)
