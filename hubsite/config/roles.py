"""Roles and groups in a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubsite.config.values import dictionaries, in_order, listed, mapping, text
from scopes.grammar import ROLE_NAME


def groups(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError("a dictionary from group names to their members")
    found: dict[str, dict[str, Any]] = {}
    for name, spec in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError("strings as group names")
        # The list form is JupyterHub's older one and sets no properties.
        group = dict(spec) if isinstance(spec, Mapping) else {"users": spec}
        if unknown := set(group) - {"users", "properties"}:
            raise ValueError(
                f"the keys `users` and `properties`; {name!r} has {listed(unknown)}"
            )
        try:
            group["users"] = in_order(group.get("users", ()))
        except ValueError:
            raise ValueError(f"a list of user names in group {name!r}") from None
        if "properties" in group:
            group["properties"] = mapping(group["properties"])
        found[name] = group
    return found


def roles(value: Any) -> tuple[dict[str, Any], ...]:
    found = []
    seen: set[str] = set()
    for role in dictionaries(value):
        name = role.get("name")
        if not isinstance(name, str) or not ROLE_NAME.fullmatch(name):
            raise ValueError(
                "role names of 3 to 255 characters: lower-case letters, digits and "
                f"-_.~, beginning with a letter, ending with a letter or digit; "
                f"not {name!r}"
            )
        if name in seen:
            raise ValueError(f"each role once; {name!r} is there twice")
        seen.add(name)
        allowed = {"name", "description", "scopes", "users", "services", "groups"}
        if unknown := set(role) - allowed:
            raise ValueError(
                f"the keys {listed(allowed)}; {name!r} has {listed(unknown)}"
            )
        if name == "admin" and {"description", "scopes"} & set(role):
            raise ValueError(
                "only members for 'admin': its scopes and description are fixed"
            )
        role = dict(role)
        for key in ("scopes", "users", "services", "groups"):
            if key in role:
                try:
                    role[key] = in_order(role[key])
                except ValueError:
                    raise ValueError(
                        f"a list of strings as {key} of {name!r}"
                    ) from None
        text(role.get("description", ""))
        found.append(role)
    return tuple(found)
