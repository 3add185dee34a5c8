"""What an authenticator says of a person, at a sign-in or a refresh.

An answer has the keys of JupyterHub's *auth model*: `name`, `admin`, `groups`, `roles`,
`auth_state` and `user_info`. A key that is absent leaves what it is about unchanged,
and so does None, except that `auth_state` None removes what is kept.

The process that hosts the class leaves out `groups` unless the class manages groups,
and `roles` unless the class manages roles, because these are settings of the class that
was asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from accounts.group_actions import check_group_names
from accounts.naming import check_name
from database.storable import storable
from scopes.definitions import DEFAULT_ROLES
from scopes.grammar import ROLE_NAME, check_scopes
from scopes.refusals import Conflict, Invalid

# Most groups and roles of one answer, and names of holders of one of its roles.
MOST_GROUPS: Final = 2_000
MOST_ROLES: Final = 500
MOST_HOLDERS: Final = 10_000
# Most characters of `user_info` as JSON, because lists of users contain it.
LONGEST_INFO: Final = 65_536

HOLDERS: Final = ("groups", "users", "services")
# `description` has at most as many characters as its column.
LONGEST_DESCRIPTION: Final = 1_023


@dataclass(frozen=True, slots=True)
class ManagedRole:
    """A role that an authenticator gives, and perhaps defines.

    A description or scopes of None stay as they are. `holders` has the names of groups,
    users and services that alone have the role, for each kind that the answer names.
    """

    name: str
    description: str | None = None
    scopes: tuple[str, ...] | None = None
    holders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Any) -> Self:
        """Check one role of an answer; raise `Conflict` or `Invalid`."""
        if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
            raise Invalid("Each role of an answer is a dictionary with a name")
        name = data["name"]
        if not ROLE_NAME.fullmatch(name):
            raise Conflict(
                f"Invalid role name: {name[:255]}. A name has 3 to 255 characters:"
                " lower-case letters, digits and -_.~, beginning with a letter, ending"
                " with a letter or digit"
            )
        description = data.get("description")
        if description is not None:
            description = storable(str(description))[:LONGEST_DESCRIPTION]
        scopes = data.get("scopes")
        if scopes is not None:
            scopes = tuple(_texts(scopes, f"scopes of role {name}", MOST_HOLDERS))
            check_scopes(scopes, holder=f"role {name}", limited=False)
        if name == "admin":
            _check_unchanged(scopes)
            description = scopes = None
        holders = {
            kind: tuple(_texts(data[kind], f"{kind} of role {name}", MOST_HOLDERS))
            for kind in HOLDERS
            if kind in data
        }
        return cls(name, description, scopes, holders)


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer; whatever it says can be stored."""

    name: str
    admin: bool | None = None
    groups: tuple[str, ...] | None = None
    roles: tuple[ManagedRole, ...] | None = None
    user_info: dict[str, Any] | None = None
    # Whether `auth_state` replaces what is kept.
    has_auth_state: bool = False
    auth_state: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Check an answer as the host sends it; raise a `Refusal` with the reason."""
        name = data.get("name")
        if not isinstance(name, str):
            raise Invalid("The authenticator returned no name")
        check_name(name)
        admin, groups, roles = (data.get(key) for key in ("admin", "groups", "roles"))
        if groups is not None:
            groups = tuple(dict.fromkeys(_texts(groups, "groups", MOST_GROUPS)))
            check_group_names(groups)
        if roles is not None:
            if not isinstance(roles, list | tuple) or len(roles) > MOST_ROLES:
                raise Invalid(f"roles must be a list of at most {MOST_ROLES} roles")
            # Of several roles with one name, the last counts.
            read = [ManagedRole.read(role) for role in roles]
            roles = tuple({role.name: role for role in read}.values())
        return cls(
            name=name,
            admin=None if admin is None else bool(admin),
            groups=groups,
            roles=roles,
            user_info=_info(data.get("user_info")),
            has_auth_state="auth_state" in data,
            auth_state=_state(data.get("auth_state")),
        )


def _texts(value: Any, what: str, most: int) -> list[str]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(each, str) for each in value
    ):
        raise Invalid(f"{what} must be a list of strings")
    if len(value) > most:
        raise Invalid(f"{what}: {len(value)} are too many, at most {most} are taken")
    return [storable(each) for each in value]


def _check_unchanged(scopes: tuple[str, ...] | None) -> None:
    """Refuse other scopes for the role admin than it has."""
    if scopes and set(scopes) != set(DEFAULT_ROLES["admin"]["scopes"]):
        raise Conflict("The scopes of the role admin can't be changed")


def _info(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Invalid("user_info must be a dictionary")
    info: dict[str, Any] = storable(value)
    if len(json.dumps(info)) > LONGEST_INFO:
        raise Invalid(f"user_info is longer than {LONGEST_INFO} characters as JSON")
    return info


def _state(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise Invalid("auth_state must be a dictionary")
    kept: dict[str, Any] | None = storable(value)
    return kept
