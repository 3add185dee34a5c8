"""Which way to sign in a configuration names, and which sections configure that.

traitlets lets a class inherit settings: `c.GitHubOAuthenticator.admin_users`,
`c.OAuthenticator.admin_users` and `c.Authenticator.admin_users` all reach a
`GitHubOAuthenticator`, and the nearest section wins. The *lineage* of a class is the
names of these sections, nearest first.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from hubsite.config.unsupported import (
    KNOWN_AUTHENTICATORS,
    OAUTHENTICATORS,
)

GROUP = "jupyterhub.authenticators"
PAM_LINEAGE = (*KNOWN_AUTHENTICATORS["pam"], "Authenticator")


class WayIn(NamedTuple):
    """How people sign in.

    `short` is the hub's word for it. `named` is what the file calls the class, if the
    hub does not have it and passwords are kept instead.
    """

    short: str
    lineage: tuple[str, ...]
    named: str = ""


def find(value: Any) -> WayIn:
    """Return what `c.JupyterHub.authenticator_class` names; None if it is not set."""
    if value is None:
        # JupyterHub would use PAM, so lists may stand in the section of that class.
        return WayIn("local", PAM_LINEAGE)
    name = dotted(value)
    for short, classes in KNOWN_AUTHENTICATORS.items():
        # As in JupyterHub, a short name may be written with capitals.
        if name.lower() == short or name in {
            f"jupyterhub.auth.{each}" for each in classes[:1]
        }:
            return WayIn(short, (*classes, "Authenticator"))
    if name.lower() == "default":
        return WayIn("local", PAM_LINEAGE)
    return WayIn("local", lineage_of(value), name)


def dotted(value: Any) -> str:
    """Return the import path of a class, or the name that stands for one.

    A class of the configuration file itself has no path, so its name does.
    """
    if isinstance(value, type):
        # traitlets runs the file with the names of `builtins` around it.
        if value.__module__ in ("builtins", "__main__"):
            return value.__qualname__
        return f"{value.__module__}.{value.__qualname__}"
    return str(value).replace(":", ".")


def lineage_of(value: Any) -> tuple[str, ...]:
    """Return the sections that configure a class, nearest first.

    A class that is not installed has the lineage that its name suggests.
    """
    found = value if isinstance(value, type) else _load(str(value))
    if found is None:
        return _guess(str(value))
    return tuple(
        each.__name__
        for each in found.__mro__
        if each is not object and not each.__module__.startswith("traitlets.")
    )


def _load(name: str) -> type | None:
    """Return a class by its entry point or import path; None if that fails."""
    named = {each.name: each.value for each in entry_points(group=GROUP)}
    module, _, attribute = (
        named.get(name.lower(), name).replace(":", ".").rpartition(".")
    )
    if not module:
        return None
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception:
        # Whatever hinders a class that the hub does not use is no reason to end.
        return None
    return found if isinstance(found, type) else None


def _guess(name: str) -> tuple[str, ...]:
    """Return the lineage that a class of this name has in its package."""
    last = name.replace(":", ".").rpartition(".")[2]
    local = last.startswith(("local-", "Local"))
    plain = last.removeprefix("local-").removeprefix("Local") if local else last
    plain = OAUTHENTICATORS.get(plain.lower(), plain)
    lineage = [f"Local{plain}", "LocalAuthenticator", plain] if local else [plain]
    if plain.endswith("OAuthenticator") or plain.startswith("LTI13"):
        lineage.append("OAuthenticator")
    return (*dict.fromkeys(lineage), "Authenticator")
