"""Facts of the hosted class that web processes and the controller need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from accounts.hosting import client


@dataclass(frozen=True)
class Description:
    """What `describe` of the host returns; see `process.calls.describe`.

    The description changes only with a start of the host, so each process makes one
    call for each start.
    """

    # Another one after each start of the host.
    process: str = ""
    paths: Sequence[str] = ()
    # Those of the paths whose forms need no XSRF value, because other sites send them.
    unchecked_paths: Sequence[str] = ()
    login_service: str = ""
    login_url: str = ""
    logout_url: str = ""
    auto_login: bool = False
    request_otp: bool = False
    otp_prompt: str = ""
    overrides: Sequence[str] = ()
    changes_passwords: bool = False
    allow_existing_users: bool = False
    enable_auth_state: bool = False
    manage_groups: bool = False
    manage_roles: bool = False
    reset_managed_roles_on_startup: bool = False
    auth_refresh_age: float = 0
    auth_refresh_strict: bool = False
    refresh_pre_spawn: bool = False
    refresh_pre_stop: bool = False
    delete_invalid_users: bool = False

    def has_path(self, path: str) -> bool:
        """Return whether the class has a handler of its own for a path below `hub`."""
        return _is_among(self.paths, path)

    def checks_xsrf(self, path: str) -> bool:
        """Return whether forms for a path come from pages of this hub only."""
        return not _is_among(self.unchecked_paths, path)


def _is_among(patterns: Sequence[str], path: str) -> bool:
    # As tornado does, which matches patterns to their end.
    return any(re.match(f"(?:/?{each.lstrip('/')})$", path) for each in patterns)


KNOWN = frozenset(each.name for each in fields(Description))

# The description, and the start of the host that it is of.
_found: list[tuple[str, Description]] = []


def description() -> Description:
    """Return the description; the first call reads it from the host.

    Another call reads it again if the host was started since, maybe with other
    settings.
    """
    if not _found or _found[0][0] != client.seen.started:
        found = read_description()
        _found[:] = [(client.seen.started, found)]
    return _found[0][1]


def read_description() -> Description:
    """Return the description after a call to the host."""
    facts: dict[str, Any] = client.call("describe", patience=client.AT_ONCE)
    return Description(**{k: v for k, v in facts.items() if k in KNOWN})


def known_description() -> Description | None:
    """Return the description if this process has it already."""
    if not _found or _found[0][0] != client.seen.started:
        return None
    return _found[0][1]


def forget() -> None:
    """Forget the description, so that the next call asks again."""
    _found.clear()
