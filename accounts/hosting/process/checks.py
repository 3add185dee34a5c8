"""Refuse configurations with which JupyterHub would not start, before anybody signs in.

The text of an error is for the operator.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.crypto import CryptKeeper

from accounts.hosting.process.application import Hosted


class Refused(Exception):
    """A configuration of the class that can't work."""


def check(hosted: Hosted) -> None:
    """Run the class's check of its settings, and those of JupyterHub's start."""
    found, config = hosted.authenticator, hosted.place.config
    if found.enable_auth_state:
        try:
            CryptKeeper(config=config).check_available()
        except Exception as problem:
            raise Refused(
                f"auth_state is enabled, but encryption is not available: {problem}"
            ) from problem
    found.check_allow_config()
    for place in ("admin_users", "allowed_users"):
        for name in sorted(getattr(found, place)):
            if not found.validate_username(name):
                raise Refused(
                    f"c.Authenticator.{place}: {name!r} is no valid username"
                    + _pattern(found)
                )
    settings = config.get("JupyterHub", {})
    if found.manage_groups and settings.get("load_groups"):
        raise Refused(
            "c.JupyterHub.load_groups: the class manages groups (manage_groups), so "
            "groups can't be loaded from the configuration"
        )
    if found.manage_roles:
        holders = [
            str(role.get("name"))
            for role in settings.get("load_roles") or ()
            if role.get("users") or role.get("groups")
        ]
        if holders:
            raise Refused(
                "c.JupyterHub.load_roles: the class manages roles (manage_roles), so "
                "these roles can't have users or groups in the configuration: "
                + ", ".join(holders)
            )


def _pattern(authenticator: Any) -> str:
    pattern = authenticator.username_pattern
    return f", because it does not match username_pattern {pattern!r}" * bool(pattern)
