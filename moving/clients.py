"""OAuth clients of a JupyterHub database."""

from __future__ import annotations

from typing import Final

from database.batches import batches
from moving.importing import Import, Owner
from moving.jupyterhub_database import CHUNK, Row, text, texts
from moving.servers import SERVER_CLIENT
from oauth.actions import check_redirect_uri
from oauth.models import OAuthClient
from scopes.former import existing
from scopes.refusals import Refusal

# The client of tokens that belong to no service and no server.
HUB_CLIENT: Final = "jupyterhub"


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
