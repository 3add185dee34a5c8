"""Lookup of clients for the rest of the hub: by SQL, with a token, or by id."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

from oauth.models import OAuthClient
from tokens.clients import Client

# The length of the column of tokens.
IDENTIFIER_LENGTH: Final = 255


def server_client_id(owner: str, name: str) -> str:
    """Return the client id of a server, which names cookies as well.

    So the id contains no `@`, unlike a path. Server `a-b` without owner and server `b`
    of `a` would get the same id; the second of them gets a longer one.
    """
    plain = "-".join(["jupyterhub-user", *map(quote, filter(None, (owner, name)))])
    server = f"{owner}/{name}"
    theirs = hashlib.sha256(server.encode()).hexdigest()[:32]
    known = OAuthClient.objects.filter(identifier=plain).exclude(server=server)
    if len(plain) <= IDENTIFIER_LENGTH and not known.exists():
        return plain
    return f"{plain[: IDENTIFIER_LENGTH - 33]}.{theirs}"


def column(vendor: str) -> str:
    """Return SQL for kind and name of a token `t`'s client, on any database."""
    return (
        "(SELECT CASE WHEN oc.service_id IS NULL THEN 'server ' || oc.server"
        " ELSE 'service ' || os.name END FROM oauth_oauthclient oc"
        " LEFT JOIN services_service os ON os.id = oc.service_id"
        " WHERE oc.identifier = t.client_id)"
    )


def read_clients(ids: Collection[str]) -> dict[str, Client]:
    """Return name and kind of these clients, in one query."""
    found = OAuthClient.objects.filter(identifier__in=ids).select_related("service")
    return {
        client.identifier: Client(
            client.identifier, client.description, client.identity
        )
        for client in found
    }


def find_client(identifier: str | None) -> OAuthClient | None:
    """Return a usable client, or None."""
    # No database stores this character, so no name contains it.
    if not identifier or "\0" in identifier:
        return None
    found = OAuthClient.objects.filter(identifier=identifier, secret__isnull=False)
    return found.select_related("service", "secret__user").first()
