"""From raw scopes to expanded ones.

**Expanded scopes** are the full meaning of raw scopes: sub-scopes are included, `self`
and short filters are replaced by the principal's own name. **Identify scopes** let a
principal read at least its own name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scopes.definitions import METASCOPES, SCOPES, SELF, SELF_SCOPES, implied
from scopes.grammar import RawScope


@dataclass(frozen=True, slots=True)
class Identity:
    """The principal that holds scopes, or the OAuth client that issued the token.

    `kind` is `user` or `service`; of a client it is `service` or `server`, and a
    server's name is `username/servername`. `groups` are the user's current groups.
    """

    kind: str
    name: str
    groups: frozenset[str] = frozenset()


def expand(
    raws: Iterable[str], identity: Identity, client: Identity | None = None
) -> frozenset[str]:
    """Return the expanded scopes of `raws` for `identity`.

    Scopes without a meaning are left out: an unknown scope, a short filter without a
    target, `self` for a service, and `inherit`, which `token_access` handles itself.
    """
    kind, name = identity.kind, identity.name
    expanded: set[str] = set()
    for raw in frozenset(raws):
        if raw == SELF and kind == "user":
            for own in SELF_SCOPES:
                expanded |= _spell_out(own, "user", name)
            continue
        scope = RawScope.parse(raw)
        if scope.name not in SCOPES or scope.name in METASCOPES:
            continue
        if scope.kind is None:
            expanded |= implied(scope.name)
            continue
        value = scope.value
        if value is None:
            value = _own_name(scope.kind, kind, name, client)
        if value:
            expanded |= _spell_out(scope.name, scope.kind, value)
    return frozenset(expanded)


def _spell_out(scope: str, kind: str, value: str) -> set[str]:
    names: Iterable[str] = implied(scope)
    if kind == "server":
        # Access to one server does not include the server's user.
        names = (name for name in names if not name.startswith("read:users"))
    return {f"{name}!{kind}={value}" for name in names}


def _own_name(wanted: str, kind: str, name: str, client: Identity | None) -> str | None:
    """Return the name that a short filter of kind `wanted` refers to, or None."""
    if wanted == kind:
        return name
    if client is not None and wanted == client.kind:
        return client.name
    return None


def identify(identity: Identity) -> frozenset[str]:
    """Return the scopes with which a principal reads its own identity."""
    if identity.kind == "user":
        return frozenset(
            {
                f"read:users:name!user={identity.name}",
                f"read:users:groups!user={identity.name}",
            }
        )
    return frozenset({f"read:services:name!service={identity.name}"})


def client_access(client: Identity) -> frozenset[str]:
    """Return the scope with which a token's holder uses the client that issued it."""
    return frozenset({f"access:{client.kind}s!{client.kind}={client.name}"})
