"""Stand-in for JupyterHub's module `scopes`."""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType

import jupyterhub.scopes

from tests.peer.app import current
from tests.peer.standins.orm import Service, User
from tests.peer.standins.rows import not_portable


def get_scopes_for(entity):
    """What the hub itself reckons that somebody may do."""
    return frozenset(entity._hub.ask("scopes_of", entity))


class Scopes(ModuleType):
    """JupyterHub's module of scopes, with the hub's answers where it asks rows."""

    def __getattr__(self, name):
        return getattr(jupyterhub.scopes, name)

    def __setattr__(self, name, value):
        setattr(jupyterhub.scopes, name, value)

    get_scopes_for = staticmethod(get_scopes_for)

    @staticmethod
    def access_scopes(oauth_client=None, *, service=None, spawner=None):
        if spawner is not None:
            return {f"access:servers!server={spawner.user.name}/{spawner.name}"}
        if oauth_client is not None:
            name = oauth_client.identifier.removeprefix("service-")
            return {f"access:services!service={name}"}
        return set()

    @staticmethod
    def identify_scopes(owner=None):
        found = jupyterhub.scopes.identify_scopes()
        if owner is None:
            return found
        return {f"{scope.partition('!')[0]}!user={owner.name}" for scope in found}

    @staticmethod
    def define_custom_scopes(definitions):
        """Start a hub with them; if it starts, let the tests know of them as well."""
        current.app.extra = {"JupyterHub.custom_scopes": definitions}
        try:
            current.app.settle()
        except RuntimeError as error:
            raise ValueError(str(error)[-500:]) from error
        with suppress(ValueError):
            jupyterhub.scopes.define_custom_scopes(definitions)


module = Scopes("scopes")


def expand_scopes(wanted, owner=None, oauth_client=None):
    if isinstance(owner, User | Service):
        kind = "user" if isinstance(owner, User) else "service"
        name = owner.name
    else:
        kind, name = "user", ""
    if oauth_client is not None and any(
        each.endswith(("!server", "!service")) for each in wanted
    ):
        not_portable("scopes of a client without a token of its own")
    return frozenset(current.app.peer.ask("expand_scopes", sorted(wanted), kind, name))


def has_scope(scope, have, post_filter=False, db=None):
    if post_filter:
        not_portable("has_scope(post_filter=)")
    return current.app.peer.ask("has_scope", scope, sorted(have))
