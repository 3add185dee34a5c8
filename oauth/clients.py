"""How the rest of the hub learns of clients: by SQL, with a token, or by their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

from oauth.models import OAuthClient
from tokens.clients import Client

# What tokens have room for.
IDENTIFIER_LENGTH: Final = 255


def server_client_id(owner: str, name: str) -> str:
    """Return what a server is called as a client, which cookies are named after too.

    So no `@` is left in it, unlike in a path. `a-b` of nobody's and `b` of `a` would
    be called the same; whichever came second gets a name that says more.
    """
    plain = "-".join(["jupyterhub-user", *map(quote, filter(None, (owner, name)))])
    server = f"{owner}/{name}"
    theirs = hashlib.sha256(server.encode()).hexdigest()[:32]
    known = OAuthClient.objects.filter(identifier=plain).exclude(server=server)
    if len(plain) <= IDENTIFIER_LENGTH and not known.exists():
        return plain
    return f"{plain[: IDENTIFIER_LENGTH - 33]}.{theirs}"


def column(vendor: str) -> str:
    """Write the kind and name of the client of a token `t`; it suits every vendor."""
    return (
        "(SELECT CASE WHEN oc.service_id IS NULL THEN 'server ' || oc.server"
        " ELSE 'service ' || os.name END FROM oauth_oauthclient oc"
        " LEFT JOIN services_service os ON os.id = oc.service_id"
        " WHERE oc.identifier = t.client_id)"
    )


def read_clients(ids: Collection[str]) -> dict[str, Client]:
    """Read what tokens and people know of these clients, in one query."""
    found = OAuthClient.objects.filter(identifier__in=ids).select_related("service")
    return {
        client.identifier: Client(
            client.identifier, client.description, client.identity
        )
        for client in found
    }


def find_client(identifier: str | None) -> OAuthClient | None:
    """Return a client that can be used."""
    # No database stores this character, so nothing has such a name.
    if not identifier or "\0" in identifier:
        return None
    found = OAuthClient.objects.filter(identifier=identifier).exclude(digest="")
    return found.select_related("service").first()
