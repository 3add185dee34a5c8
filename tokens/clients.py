"""OAuth clients from the view of tokens: an id, and data of a room further right.

A token of an OAuth client contains the client's id. The room of the clients registers
how to read the client's display name, and the service or server that `!service` and
`!server` in its scopes refer to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from scopes.access import Identity

# The client of a token without a client.
HUB: Final = "JupyterHub"


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client; `identity` is the service or server that it belongs to."""

    client_id: str
    description: str
    identity: Identity | None = None


Read = Callable[[Collection[str]], Mapping[str, Client]]
# Returns a scalar SQL expression for a database vendor: the kind of the client of the
# token `t`, a blank, and its name; or NULL.
BuildColumn = Callable[[str], str]

_registered: list[tuple[Read, BuildColumn]] = []


def register(read: Read, column: BuildColumn) -> None:
    """Register the source of clients; for `AppConfig.ready()` of its room."""
    if (read, column) not in _registered:
        _registered.append((read, column))


def describe(ids: Collection[str]) -> dict[str, Client]:
    """Return these clients by id; a deleted client has its id as name."""
    found: dict[str, Client] = {"": Client("", HUB)}
    wanted = {client_id for client_id in ids if client_id}
    if wanted:
        for read, _ in _registered:
            found.update(read(wanted))
    return {
        client_id: found.get(client_id) or Client(client_id, client_id)
        for client_id in ("", *wanted)
    }


def column(vendor: str) -> str:
    """Return the SQL expression for the client of a token."""
    for _, build in _registered:
        return f"CASE WHEN t.client_id = '' THEN NULL ELSE {build(vendor)} END"
    return "NULL"


@lru_cache(maxsize=4096)
def identity(text: str | None) -> Identity | None:
    """Return the identity in the result of `column`."""
    if not text:
        return None
    kind, _, name = text.partition(" ")
    return Identity(kind, name)
