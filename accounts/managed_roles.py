"""Roles that an authenticator loads at a start (`load_managed_roles`).

They are like `load_roles` of the configuration: scopes and descriptions are set, and
lists of holders are exact. A list that is not given is empty, except that users keep a
role without a list of users. With `reset_managed_roles_on_startup`, roles that an
authenticator defined earlier and does not load now are deleted, and so are assignments
by answers to roles that it does not load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actions import create_users
from accounts.answer_actions import RoleChanges, set_admin_flag
from accounts.answers import HOLDERS, ManagedRole
from accounts.group_actions import create_groups
from accounts.models import Group, Role, User, UserRole
from accounts.naming import normalise_name
from audit.actions import record
from audit.models import Actor
from database.locks import delete_all, lock_all, lock_tree
from scopes.definitions import DEFAULT_ROLES
from scopes.refusals import Conflict


def read_roles(data: Any) -> tuple[ManagedRole, ...]:
    """Check the roles that the class returned; raise a `Refusal` with the reason."""
    roles = [ManagedRole.read(role) for role in data]
    names = [role.name for role in roles]
    twice = {name for name in names if names.count(name) > 1}
    both = {role["name"] for role in settings.HUB.load_roles} & set(names)
    for name in sorted(twice | both):
        raise Conflict(f"Role {name} is defined more than once")
    return tuple(roles)


def load_managed_roles(roles: Sequence[ManagedRole], *, reset: bool, by: Actor) -> None:
    """Store the roles that the class loads at a start, and their holders.

    This takes several transactions. A start that is interrupted is completed by the
    next.
    """
    names = {role.name for role in roles}
    if reset:
        _delete_stale(names, by)
    complete = [_complete(role) for role in roles]
    _create_holders(complete, by)
    with transaction.atomic():
        RoleChanges.of(complete, None, resets=True).declare(by)
    if reset:
        _withdraw_stale(names, by)


def _complete(role: ManagedRole) -> ManagedRole:
    """Return a role with all that `load_roles` would add to it."""
    default: Any = DEFAULT_ROLES.get(role.name, {"description": "", "scopes": ()})
    description, scopes = role.description, role.scopes
    if description is None:
        description = default["description"]
    if scopes is None:
        scopes = tuple(default["scopes"])
    holders = {kind: tuple(role.holders.get(kind, ())) for kind in HOLDERS}
    if "users" in role.holders:
        holders["users"] = tuple(map(normalise_name, holders["users"]))
    else:
        del holders["users"]
    return ManagedRole(role.name, description, scopes, holders)


def _create_holders(roles: Iterable[ManagedRole], by: Actor) -> None:
    """Create users and groups that do not exist yet, as for `load_roles`."""
    groups = {name for role in roles for name in role.holders.get("groups", ())}
    known = Group.objects.filter(name__in=groups).values_list("name", flat=True)
    if missing := sorted(groups - set(known)):
        create_groups(missing, by=by)
    users = {name for role in roles for name in role.holders.get("users", ())}
    present = User.objects.filter(name__in=users).values_list("name", flat=True)
    if absent := sorted(users - set(present)):
        create_users(absent, by=by)


@transaction.atomic
def _delete_stale(names: set[str], by: Actor) -> None:
    stale = Role.objects.filter(managed_by_auth=True).exclude(
        name__in=names | DEFAULT_ROLES.keys()
    )
    lock_tree(stale)
    for name in stale.order_by("pk").values_list("name", flat=True):
        record(by, "role.delete", "role", name)
    stale.delete()


@transaction.atomic
def _withdraw_stale(names: set[str], by: Actor) -> None:
    """Take roles away that answers gave and that the class does not load."""
    stale = UserRole.objects.filter(managed_by_auth=True).exclude(role__name__in=names)
    rows = list(stale.values_list("role__name", "user__name", "user"))
    lock_all(User.objects.filter(pk__in=[pk for _, _, pk in rows]))
    for role in sorted({role for role, _, _ in rows}):
        users = sorted(user for name, user, _ in rows if name == role)
        record(by, "role.withdraw", "role", role, users=users)
    admins = [pk for role, _, pk in rows if role == "admin"]
    for user in User.objects.filter(pk__in=admins, admin=True):
        set_admin_flag(user, False, by)
    delete_all(stale)
