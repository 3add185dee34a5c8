"""Services, servers and OAuth clients of a JupyterHub database."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from accounts.models import NAME_LENGTH, Role, User
from database.batches import batches
from database.locks import keep, lock_all
from moving.importing import Import, Owner, Running
from moving.jupyterhub_database import CHUNK, Row, loaded, moment, text, texts
from moving.memory import recall, remember
from moving.people import (
    DELETED,
    ODD_NAME,
    assign_service_roles,
    is_storable,
    pairs_of_services,
)
from oauth.actions import check_redirect_uri
from oauth.models import OAuthClient
from scopes.former import existing
from scopes.refusals import Refusal
from servers.models import Server
from servers.names import MAX_USER_OPTIONS
from services.models import Service

SERVER_CLIENT: Final = "jupyterhub-user-"
# The client of tokens that belong to no service and no server.
HUB_CLIENT: Final = "jupyterhub"


def import_services(work: Import) -> None:
    """Import services with their roles; those of the configuration stay its own."""
    assigned = pairs_of_services(work)
    rows = list(work.old.rows("services"))
    with work.batch():
        names = {row["id"]: text(row["name"]) for row in rows}
        before = recall("service", names.values())
        here = dict(Service.objects.values_list("name", "pk"))
        alive = set(here.values())
        redirects = {
            row["identifier"]: row["redirect_uri"]
            for row in work.old.rows("oauth_clients")
        }
        admin = Role.objects.get(name="admin")
        held = []
        for row in rows:
            name = names[row["id"]]
            if name in before and before[name] not in alive:
                work.report.leave("services", DELETED, name)
                continue
            if name in here:
                owner = Owner(here[name], name, is_new=name not in before)
                work.report.kept["services"] += 1
            elif not is_storable(name):
                work.report.leave("services", ODD_NAME, name[:NAME_LENGTH])
                continue
            else:
                service = Service.objects.create(
                    name=name, **_service_fields(work, row, redirects)
                )
                owner = Owner(service.pk, name, is_new=True)
                work.report.came["services"] += 1
            work.services[row["id"]] = owner
            roles = [
                work.roles[each]
                for each in assigned.get(row["id"], ())
                if each in work.roles
            ]
            if work.old.is_before_roles and row["admin"]:
                roles.append((admin.pk, False))
                if owner.is_new:
                    Service.objects.filter(pk=owner.pk).update(admin=True)
            held += [((owner.pk, owner.is_new), role) for role in roles]
        remember(
            "service",
            {
                owner.name: owner.pk
                for owner in work.services.values()
                if owner.name not in before
            },
        )
        through: Any = Service.roles.through
        assign_service_roles(through, held)


def _service_fields(
    work: Import, row: Row, redirects: dict[str, str]
) -> dict[str, Any]:
    from_config = True
    if work.old.has_column("services", "from_config"):
        from_config = bool(row["from_config"])
    display, timeout = row["display"], row["timeout"]
    identifier = row["oauth_client_id"]
    return {
        "url": _optional(row["url"], 2047),
        "command": loaded(row["command"]),
        "cwd": _optional(row["cwd"], 4095),
        "environment": loaded(row["environment"]),
        "user": _optional(row["user"], NAME_LENGTH),
        "info": loaded(row["info"]),
        "display": None if display is None else bool(display),
        "timeout": timeout if isinstance(timeout, int) and timeout > 0 else 30,
        "from_config": from_config,
        "oauth_client_id": _optional(identifier, NAME_LENGTH),
        "oauth_redirect_uri": _optional(redirects.get(identifier), 1023),
        "oauth_no_confirm": bool(row["oauth_no_confirm"]),
        "oauth_client_allowed_scopes": loaded(row["oauth_client_allowed_scopes"]),
    }


def _optional(value: Any, most: int) -> str | None:
    return None if value is None else text(value, most)


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
            if not _is_worth(row, address, shared):
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


def _is_worth(row: Row, address: Row | None, shared: set[int]) -> bool:
    """Tell whether a row says anything: each person has one for the default server."""
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
    """Tell whether a server that ran in the old hub is to run here."""
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


def import_clients(work: Import) -> None:
    """Import the clients of services and of servers that run.

    Their secrets are tokens, which come later.
    """
    services = _clients_of_services(work)
    roles = _scopes_of_clients(work)
    rows = list(work.old.rows("oauth_clients"))
    for some in batches(rows, CHUNK):
        with work.batch():
            _import_clients(work, some, services, roles)


def _clients_of_services(work: Import) -> dict[str, Owner]:
    found = {}
    for row in work.old.rows("services"):
        owner = work.services.get(row["id"])
        if owner is not None:
            # Releases before 2 do not store it with the service.
            identifier = text(row["oauth_client_id"]) or f"service-{owner.name}"
            found[identifier] = owner
    return found


def _scopes_of_clients(work: Import) -> dict[int, list[str]]:
    """Return the scopes of clients in 2.x, where they have roles."""
    found: dict[int, list[str]] = {}
    for row in work.old.rows("oauth_client_role_map", order=None):
        held = found.setdefault(row["oauth_client_id"], [])
        held += work.scopes_of_roles.get(row["role_id"], ())
    return found


def _import_clients(
    work: Import,
    rows: list[Row],
    services: dict[str, Owner],
    roles: dict[int, list[str]],
) -> None:
    identifiers = [text(row["identifier"]) for row in rows]
    present = OAuthClient.objects.filter(identifier__in=identifiers)
    here = {client.identifier: client for client in present}
    taken = set(
        OAuthClient.objects.filter(service__isnull=False).values_list(
            "service_id", flat=True
        )
    )
    new = []
    for row, identifier in zip(rows, identifiers, strict=True):
        if identifier == HUB_CLIENT:
            continue
        service = services.get(identifier)
        server = work.server_clients.get(identifier, "")
        client = here.get(identifier)
        if client is not None:
            if _belongs(client, service, server):
                work.clients[identifier] = identifier
                work.report.kept["OAuth clients"] += 1
            else:
                work.report.leave(
                    "OAuth clients", "another client has its id here", identifier
                )
            continue
        if service is None and not server:
            if not identifier.startswith(SERVER_CLIENT):
                work.report.leave("OAuth clients", "of no service", identifier)
            continue
        if service is not None and service.pk in taken:
            work.report.leave(
                "OAuth clients", "its service has another one here", identifier
            )
            continue
        redirect_uri = text(row["redirect_uri"])
        try:
            check_redirect_uri(redirect_uri)
        except Refusal:
            work.report.leave(
                "OAuth clients", "its address is none for visitors", identifier
            )
            continue
        allowed = texts(row["allowed_scopes"]) or roles.get(row["id"], [])
        new.append(
            OAuthClient(
                identifier=identifier,
                description=text(row["description"], 1023),
                redirect_uri=redirect_uri,
                allowed_scopes=existing(allowed)[0],
                service_id=None if service is None else service.pk,
                server="" if service is not None else server,
            )
        )
        work.clients[identifier] = identifier
        if service is not None:
            taken.add(service.pk)
    OAuthClient.objects.bulk_create(new)
    work.report.came["OAuth clients"] += len(new)


def _belongs(client: OAuthClient, service: Owner | None, server: str) -> bool:
    if service is not None:
        return client.service_id == service.pk
    return bool(server) and client.server == server


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


def link_services(work: Import, tokens: dict[int, int]) -> None:
    """Give the client of each service its newest token as its secret."""
    with work.batch():
        for service, token in tokens.items():
            OAuthClient.objects.filter(service=service, secret=None).update(
                secret=token
            )
