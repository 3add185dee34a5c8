"""The authenticator of a configuration, and the sections that configure it.

traitlets lets a class inherit settings: `c.GitHubOAuthenticator.admin_users`,
`c.OAuthenticator.admin_users` and `c.Authenticator.admin_users` all reach a
`GitHubOAuthenticator`, and the nearest section wins. The *lineage* of a class is the
list of these sections, nearest first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, NamedTuple

from hubsite.config import native
from hubsite.config.unsupported import (
    KNOWN_AUTHENTICATORS,
    OAUTHENTICATORS,
)

GROUP = "jupyterhub.authenticators"
# Loaded in the process that hosts a class, and in no other.
HOST = "accounts.hosting.process.server"
PAM_LINEAGE = (*KNOWN_AUTHENTICATORS["pam"], "Authenticator")
# The methods that the hub has itself.
OWN = frozenset({"local", "dummy", "null"})
# Settings with which the hub's own `dummy` would do less than JupyterHub's class, so
# that one is hosted.
ONLY_HOSTED = frozenset(
    {
        *("post_auth_hook", "enable_auth_state", "reconcile_auth_state_hook"),
        *("manage_groups", "manage_roles", "reset_managed_roles_on_startup"),
        *("auto_login", "request_otp", "otp_prompt", "delete_invalid_users"),
        *("auth_refresh_age", "auth_refresh_strict", "refresh_pre_spawn"),
        *("refresh_pre_stop", "any_allow_config"),
    }
)


class WayIn(NamedTuple):
    """A method of signing in.

    `short` is the hub's name for it: one of its own methods, or `hosted`. A hosted
    class is JupyterHub's or a plugin's, runs in a process of its own
    (`accounts.hosting`) and reads its sections itself; `named` is its name in the file.
    """

    short: str
    lineage: tuple[str, ...]
    named: str = ""

    @property
    def is_hosted(self) -> bool:
        return self.short == "hosted"

    @property
    def is_native(self) -> bool:
        """Return whether the file names the plugin for which the hub has a sign-up."""
        return self.short == "local" and native.SECTION in self.lineage


def find(value: Any, file: Mapping[str, Any] | None = None) -> WayIn:
    """Return the method of `c.JupyterHub.authenticator_class` in a file.

    Without the setting the answer is PAM, as in JupyterHub.
    """
    name = dotted("pam" if value is None else value)
    if name.lower() == "default":
        name = "pam"
    for short, classes in KNOWN_AUTHENTICATORS.items():
        # As in JupyterHub, a short name may have capitals.
        if name.lower() == short or name in {
            f"jupyterhub.auth.{each}" for each in classes[:1]
        }:
            lineage = (*classes, "Authenticator")
            needs_class = short == "dummy" and any(
                not ONLY_HOSTED.isdisjoint((file or {}).get(section, ()))
                for section in lineage
            )
            if short in OWN and not needs_class:
                return WayIn(short, lineage)
            return WayIn("hosted", lineage, short)
    if native.is_native(name, ()):
        # Not loaded, because the plugin may not be installed here.
        return WayIn("local", (native.SECTION, "Authenticator"))
    lineage = lineage_of(value)
    if native.is_native(name, lineage):
        return WayIn("local", lineage)
    return WayIn("hosted", lineage, name)


def dotted(value: Any) -> str:
    """Return the import path of a class, or its name.

    A class that the configuration file defines has no path, so its name is returned.
    """
    if isinstance(value, type):
        # traitlets runs the file in a namespace whose `__name__` is `builtins`.
        if value.__module__ in ("builtins", "__main__"):
            return value.__qualname__
        return f"{value.__module__}.{value.__qualname__}"
    return str(value).replace(":", ".")


def lineage_of(value: Any) -> tuple[str, ...]:
    """Return the sections that configure a class, nearest first.

    A class that is not installed gets the lineage of classes with such a name.
    """
    if isinstance(value, type):
        return sections_of(value)
    name = str(value)
    named = {each.name.lower(): each.value for each in entry_points(group=GROUP)}
    module, _, attribute = (
        named.get(name.lower(), name).replace(":", ".").rpartition(".")
    )
    if not module:
        return _guess(name)
    if HOST in sys.modules:
        return _imported(module, attribute) or _guess(name)
    return _imported_apart(module, attribute) or _guess(name)


def sections_of(found: type) -> tuple[str, ...]:
    return tuple(
        each.__name__
        for each in found.__mro__
        if each is not object and not each.__module__.startswith("traitlets.")
    )


def _imported(module: str, attribute: str) -> tuple[str, ...]:
    """Return the lineage of a class by its import path; empty if that fails."""
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception:
        # The process of the class says why it can't be imported.
        return ()
    return sections_of(found) if isinstance(found, type) else ()


def _imported_apart(module: str, attribute: str) -> tuple[str, ...]:
    """Return the same from a child process.

    Only the process of the class needs it, and a plugin takes up to 200 MB.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException), os.fdopen(writing, "w") as file:
            json.dump(_imported(module, attribute), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    return tuple(json.loads(text)) if text else ()


def missing_module(value: Any) -> str:
    """Return the module of a class if it is not installed; nothing is imported."""
    if isinstance(value, type):
        return ""
    name = str(value).lower()
    if name in (*KNOWN_AUTHENTICATORS, "default"):
        return ""
    named = {each.name: each.value for each in entry_points(group=GROUP)}
    is_short = name.removeprefix("local-") in OAUTHENTICATORS
    path = named.get(name, "oauthenticator" if is_short else str(value))
    module = path.replace(":", ".").partition(".")[0]
    return "" if find_spec(module) else module


def _guess(name: str) -> tuple[str, ...]:
    """Return the usual lineage of a class with this name in its package."""
    last = name.replace(":", ".").rpartition(".")[2]
    local = last.startswith(("local-", "Local"))
    plain = last.removeprefix("local-").removeprefix("Local") if local else last
    plain = OAUTHENTICATORS.get(plain.lower(), plain)
    lineage = [f"Local{plain}", "LocalAuthenticator", plain] if local else [plain]
    if plain.endswith("OAuthenticator") or plain.startswith("LTI13"):
        lineage.append("OAuthenticator")
    return (*dict.fromkeys(lineage), "Authenticator")
