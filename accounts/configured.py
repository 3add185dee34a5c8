"""Rights that the configuration gives to names, at each start or sign-in.

A user or a group that gets such a name later gets the rights with it, also if the row
that had the name before has been deleted. So these functions read the configuration and
not the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.conf import settings

from accounts.naming import normalise_name
from scopes.refusals import Forbidden


def names_with_rights() -> set[str]:
    """Return the users to whom the configuration gives more than the role `user`."""
    return {normalise_name(name) for name in _names_with_rights()}


def roles_of_group(name: str) -> list[str]:
    """Return the roles that the configuration gives to a group."""
    roles = settings.HUB.load_roles
    return [role["name"] for role in roles if name in (role.get("groups") or ())]


def refuse_names_with_rights(names: Iterable[str]) -> None:
    """Raise `Forbidden` if the configuration gives rights to one of these names."""
    found = sorted(names_with_rights().intersection(names))
    if found:
        raise Forbidden(
            f"Only admins can give a user the name {found[0]}, because the"
            " configuration gives rights to this name"
        )


def _names_with_rights() -> Iterator[str]:
    hub = settings.HUB
    yield from hub.admin_users
    for role in hub.load_roles:
        if role["name"] != "user":
            yield from role.get("users") or ()
            for group in role.get("groups") or ():
                yield from hub.load_groups.get(group, {}).get("users", ())
