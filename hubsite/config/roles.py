"""Roles and groups in a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubsite.config.values import dictionaries, in_order, mapping, text
from scopes.grammar import ROLE_NAME

GROUP_KEYS = frozenset({"users", "properties"})
ROLE_KEYS = frozenset({"name", "description", "scopes", "users", "services", "groups"})


def groups(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError("a dictionary from group names to their members")
    found: dict[str, dict[str, Any]] = {}
    for name, spec in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError("strings as group names")
        # The list form is JupyterHub's older one and sets no properties.
        group = dict(spec) if isinstance(spec, Mapping) else {"users": spec}
        try:
            group["users"] = in_order(group.get("users", ()))
        except ValueError:
            raise ValueError(f"a list of user names in group {name!r}") from None
        if "properties" in group:
            group["properties"] = mapping(group["properties"] or {})
        found[name] = group
    return found


def roles(value: Any) -> tuple[dict[str, Any], ...]:
    found = []
    seen: set[str] = set()
    for declared in dictionaries(value):
        name = declared.get("name")
        if not isinstance(name, str) or not ROLE_NAME.fullmatch(name):
            raise ValueError(
                "role names of 3 to 255 characters: lower-case letters, digits and "
                f"-_.~, beginning with a letter, ending with a letter or digit; "
                f"not {name!r}"
            )
        if name in seen:
            raise ValueError(f"each role once; {name!r} is there twice")
        seen.add(name)
        if name == "admin" and {"description", "scopes"} & set(declared):
            raise ValueError(
                "only members for 'admin': its scopes and description are fixed"
            )
        # JupyterHub, too, takes None for no scopes and no description.
        role = {key: part for key, part in declared.items() if part is not None}
        if "scopes" in declared and declared["scopes"] is None:
            role["scopes"] = []
        for key in ("scopes", "users", "services", "groups"):
            if key in role:
                try:
                    # JupyterHub, too, takes None for no scopes.
                    role[key] = in_order(role[key])
                except ValueError:
                    raise ValueError(
                        f"a list of strings as {key} of {name!r}"
                    ) from None
        text(role.get("description", ""))
        found.append(role)
    return tuple(found)
