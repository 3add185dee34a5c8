"""The scopes that a client may request, and those that a user can grant.

A client requests raw scopes. A request for scopes beyond the client's own is refused,
because it is a mistake of the client. Scopes beyond the user's are dropped silently,
because the client can't know the user. The scopes that identify the user, and access
to the client itself, belong to every grant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from accounts.models import Group, Role, User
from accounts.rights import members_among
from oauth.models import OAuthClient
from scopes.access import (
    Access,
    Identity,
    Target,
    client_access,
    cut_down,
    expand,
)
from scopes.definitions import INHERIT, SCOPES
from scopes.grammar import RawScope, check_number, check_scopes
from scopes.refusals import Invalid
from tokens.models import APIToken

IDENTIFY: Final = ("read:users:groups!user", "read:users:name!user")

# The name with which clients requested only the user's identity, before there were
# scopes.
IDENTIFY_ALONE: Final = "identify"


def required_scopes(client: OAuthClient) -> frozenset[str]:
    """Return the raw scopes that every token of a client has."""
    return client_access(client.identity).union(IDENTIFY)


def spell_out_roles(names: Iterable[str]) -> list[str]:
    """Replace names of roles by the scopes of the roles."""
    names = list(dict.fromkeys(names))
    others = [
        name
        for name in names
        if RawScope.parse(name).name not in SCOPES and "\0" not in name
    ]
    roles: dict[str, list[str]] = {}
    if others:
        found = Role.objects.filter(name__in=others)
        roles = dict(found.values_list("name", "scopes"))
    spelled_out = (scope for name in names for scope in roles.get(name, [name]))
    return list(dict.fromkeys(spelled_out))


def read_request(client: OAuthClient, user: User, names: Iterable[str]) -> list[str]:
    """Return the raw scopes that a client requests, or refuse the request.

    A request without scopes asks for all that the client may have. An empty name in the
    list is a mistake, an empty list is not.
    """
    asked = list(names)
    if not asked:
        return list(client.allowed_scopes)
    # Each name may be a role, which costs a query.
    check_number(asked, holder="client")
    if "" in asked:
        raise Invalid("The client asks for a scope without a name.")
    raws = spell_out_roles(name for name in asked if name != IDENTIFY_ALONE)
    check_scopes(raws, holder="client")
    if not covers(client, user, client.allowed_scopes, raws):
        raise Invalid("The client asks for more than it is allowed.")
    return raws


def covers(
    client: OAuthClient, user: User, wide: Collection[str], narrow: Collection[str]
) -> bool:
    """Return whether some raw scopes, with those of every grant, cover others.

    Only `inherit` itself covers `inherit`. As in JupyterHub, `inherit` covers no scope
    that is requested alone or beside it.
    """
    if INHERIT in narrow and INHERIT not in wide:
        return False
    own = (raw for raw in wide if raw != INHERIT)
    others = [raw for raw in narrow if raw != INHERIT]
    held = _access(client, user, [*own, *required_scopes(client)])
    return held.covers(_expanded(client, user, others), members_among)


def read_consent(
    client: OAuthClient, user: User, asked: Collection[str], names: Iterable[str]
) -> list[str]:
    """Return the raw scopes to which a user agreed, of those that a client requested.

    The form may contain fewer scopes. More are refused, because the page did not show
    them.
    """
    agreed = read_request(client, user, names)
    if INHERIT not in asked and not covers(client, user, asked, agreed):
        raise Invalid("The form agrees to more than the client has asked for.")
    return agreed


def grant(client: OAuthClient, user: User, raws: Iterable[str]) -> list[str]:
    """Return the requested raw scopes that a user can grant."""
    raws = list(raws)
    if INHERIT in raws:
        return [INHERIT]
    wanted = {
        raw: expanded for raw in raws if (expanded := _expanded(client, user, [raw]))
    }
    granted = cut_down(wanted, user.access, members_among)
    return sorted(granted | required_scopes(client))


def may_use(client: OAuthClient, user: User) -> bool:
    """Return whether the user has access to the client's service or server."""
    identity = client.identity
    if identity.kind == "service":
        target = Target(service=identity.name)
    else:
        owner = identity.name.partition("/")[0]
        target = Target(
            user=owner, server=identity.name, group=lambda: _groups_of(owner)
        )
    return user.access.allows(f"access:{identity.kind}s", obj=target)


def is_confirmed(
    client: OAuthClient, user: User, granted: Iterable[str], now: datetime
) -> bool:
    """Return whether the user need not confirm, or has confirmed before."""
    if client.is_own_server_of(user) or client.needs_no_confirmation:
        return True
    tokens = APIToken.objects.owned_by(user).active(now)
    obtained = tokens.filter(client_id=client.identifier).order_by()
    held = {
        scope
        for scopes in obtained.values_list("scopes", flat=True).distinct()
        for scope in scopes
    }
    if INHERIT in held:
        return True
    granted = frozenset(granted)
    if not held or INHERIT in granted:
        return False
    return _access(client, user, held).covers(
        _expanded(client, user, granted), members_among
    )


def _expanded(client: OAuthClient, user: User, raws: Iterable[str]) -> frozenset[str]:
    return expand(raws, Identity("user", user.name), client.identity)


def _access(client: OAuthClient, user: User, raws: Iterable[str]) -> Access:
    return Access.of(_expanded(client, user, raws))


def _groups_of(username: str) -> list[str]:
    groups = Group.objects.filter(users__name=username)
    return list(groups.values_list("name", flat=True))
