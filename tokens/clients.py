"""OAuth clients as tokens know them: by an id, and by what a room further right says.

A token that a client obtained names that client. Whose rights `!service` and `!server`
in its scopes mean, and what people call the client, the room of the clients tells; it
registers how to read both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from scopes.access import Identity

# What obtained a token that names no client.
HUB: Final = "JupyterHub"


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client; `identity` is the service or server that it stands for."""

    client_id: str
    description: str
    identity: Identity | None = None


Read = Callable[[Collection[str]], Mapping[str, Client]]
# Writes a scalar SQL expression for a database vendor: the kind of the client of the
# token `t`, a blank, and its name; or NULL.
BuildColumn = Callable[[str], str]

_registered: list[tuple[Read, BuildColumn]] = []


def register(read: Read, column: BuildColumn) -> None:
    """Say where clients are kept; for `AppConfig.ready()` of the room that does."""
    if (read, column) not in _registered:
        _registered.append((read, column))


def describe(ids: Collection[str]) -> dict[str, Client]:
    """Return these clients by id; one that is gone is called by its id."""
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
    """Write the expression by which a query about tokens reads their clients."""
    for _, build in _registered:
        return f"CASE WHEN t.client_id = '' THEN NULL ELSE {build(vendor)} END"
    return "NULL"


@lru_cache(maxsize=4096)
def identity(text: str | None) -> Identity | None:
    """Read what `column` selected."""
    if not text:
        return None
    kind, _, name = text.partition(" ")
    return Identity(kind, name)
