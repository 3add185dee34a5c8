"""From raw scopes to expanded ones.

**Expanded scopes** are all that raw scopes mean: sub-scopes spelled out, `self` and
short filters replaced by the principal's own name. **Identify scopes** let a
principal at least learn its own name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scopes.definitions import METASCOPES, SCOPES, SELF, SELF_SCOPES, implied
from scopes.grammar import RawScope


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose scopes they are, or which OAuth client issued the token.

    `kind` is `user` or `service`; of a client it is `service` or `server`, and a
    server's name is `username/servername`. `groups` are those of a user, as of now.
    """

    kind: str
    name: str
    groups: frozenset[str] = frozenset()


def expand(
    raws: Iterable[str], identity: Identity, client: Identity | None = None
) -> frozenset[str]:
    """Spell out what `raws` mean to `identity`.

    What has no meaning stays out: an unknown scope, a short filter without a
    target, `self` for a service, and `inherit`, which `token_access` reads itself.
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
        # Whoever may see one server has not been told about its user.
        names = (name for name in names if not name.startswith("read:users"))
    return {f"{name}!{kind}={value}" for name in names}


def _own_name(wanted: str, kind: str, name: str, client: Identity | None) -> str | None:
    """Find whom a short filter of kind `wanted` means."""
    if wanted == kind:
        return name
    if client is not None and wanted == client.kind:
        return client.name
    return None


def identify(identity: Identity) -> frozenset[str]:
    """Name the scopes by which a principal learns who it is."""
    if identity.kind == "user":
        return frozenset(
            {
                f"read:users:name!user={identity.name}",
                f"read:users:groups!user={identity.name}",
            }
        )
    return frozenset({f"read:services:name!service={identity.name}"})


def client_access(client: Identity) -> frozenset[str]:
    """Name the scope by which a token's holder uses the client that issued it."""
    return frozenset({f"access:{client.kind}s!{client.kind}={client.name}"})
