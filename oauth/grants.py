"""What a client may ask for, and what of it a user can give.

A client asks for raw scopes. Those beyond what it is allowed are refused, for they
are a mistake in the client. Those beyond the user are dropped without a word, for the
client can't know who comes. What identifies the user, and the access to the client
itself, belong to every grant.
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

# How clients asked for no more than to know who comes, before there were scopes.
IDENTIFY_ALONE: Final = "identify"


def required_scopes(client: OAuthClient) -> frozenset[str]:
    """Name the raw scopes that every token of a client has."""
    return client_access(client.identity).union(IDENTIFY)


def spell_out_roles(names: Iterable[str]) -> list[str]:
    """Put the scopes of roles in the place of names that are no scopes."""
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
    """Return the raw scopes that a client asks of a user, or refuse them.

    A client that names none asks for all that it is allowed. An empty name is a
    mistake, an empty list is none.
    """
    asked = list(names)
    if not asked:
        return list(client.allowed_scopes)
    # Each may be the name of a role, which the database is asked for.
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
    """Do some raw scopes, and what every grant has, reach as far as others?

    Only `inherit` itself covers `inherit`. As in JupyterHub, it covers no scope that
    is named by itself or beside it.
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
    """Return the raw scopes to which a user agreed, of those that a client asked for.

    The form may name less than that. More is refused, because nobody was shown it.
    """
    agreed = read_request(client, user, names)
    if INHERIT not in asked and not covers(client, user, asked, agreed):
        raise Invalid("The form agrees to more than the client has asked for.")
    return agreed


def grant(client: OAuthClient, user: User, raws: Iterable[str]) -> list[str]:
    """Return the raw scopes that a user can give a client of those it asked for."""
    raws = list(raws)
    if INHERIT in raws:
        return [INHERIT]
    wanted = {
        raw: expanded for raw in raws if (expanded := _expanded(client, user, [raw]))
    }
    granted = cut_down(wanted, user.access, members_among)
    return sorted(granted | required_scopes(client))


def may_use(client: OAuthClient, user: User) -> bool:
    """Does the user's access reach what the client stands for?"""
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
    """Need the user not be asked, or not again?"""
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
