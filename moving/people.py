"""Roles, groups and people of a JupyterHub database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import Q

from accounts.models import NAME_LENGTH, Group, Role, User
from database.locks import Advisory, keep, lock_all, wait_for
from moving.importing import Import, Owner
from moving.jupyterhub_database import Row, loaded, moment, text, texts
from moving.memory import recall, remember
from scopes.definitions import DEFAULT_ROLES
from scopes.former import existing, of_roles_on_tokens

MOST_PROPERTIES: Final = 65_536
DELETED: Final = "deleted here after an earlier import"
ODD_NAME: Final = "a name that this hub can't have"


def import_roles(work: Import) -> None:
    """Import roles; those that JupyterHub always has stay as they are here."""
    with work.batch():
        wait_for(Advisory.USER_NAMES)
        _create_default_roles()
        here = dict(Role.objects.values_list("name", "pk"))
        rows = list(work.old.rows("roles"))
        before = recall("role", [text(row["name"]) for row in rows])
        created: dict[str, int] = {}
        for row in rows:
            name = text(row["name"])
            work.scopes_of_roles[row["id"]] = of_roles_on_tokens(texts(row["scopes"]))
            if name in here:
                is_new = name not in before and name not in DEFAULT_ROLES
                work.roles[row["id"]] = (here[name], is_new)
                if name not in DEFAULT_ROLES:
                    work.report.kept["roles"] += 1
            elif name in before:
                work.report.leave("roles", DELETED, name)
                continue
            elif not 0 < len(name) <= NAME_LENGTH:
                work.report.leave("roles", ODD_NAME, name[:NAME_LENGTH])
                continue
            else:
                role = Role.objects.create(
                    name=name,
                    description=text(row["description"], 1023),
                    scopes=_known_scopes(work, name, texts(row["scopes"])),
                )
                work.roles[row["id"]] = (role.pk, True)
                work.report.came["roles"] += 1
                created[name] = role.pk
            if name not in DEFAULT_ROLES:
                created[name] = work.roles[row["id"]][0]
        remember("role", created)


def _create_default_roles() -> None:
    """Create the roles that each hub has, before its first start."""
    present = set(Role.objects.values_list("name", flat=True))
    for name, spec in DEFAULT_ROLES.items():
        if name not in present:
            Role.objects.create(
                name=name, description=spec["description"], scopes=list(spec["scopes"])
            )


def _known_scopes(work: Import, role: str, scopes: list[str]) -> list[str]:
    known, unknown = existing(scopes)
    for scope in unknown:
        work.report.leave("scopes of roles", "unknown here", f"{role}: {scope}")
    return known


def import_groups(work: Import) -> None:
    """Import groups with their properties and roles."""
    assigned = _pairs(work, "group_role_map", "group_id", "role_id")
    for rows in work.old.chunks("groups"):
        with work.batch():
            wait_for(Advisory.GROUP_NAMES)
            _import_groups(work, rows, assigned)


def _import_groups(
    work: Import, rows: list[Row], assigned: dict[int, list[int]]
) -> None:
    names = {row["id"]: text(row["name"]) for row in rows}
    before = recall("group", names.values())
    found = dict(
        Group.objects.filter(name__in=names.values()).values_list("name", "pk")
    )
    alive = set(
        Group.objects.filter(pk__in=before.values()).values_list("pk", flat=True)
    )
    # The roles of groups have foreign keys to both.
    _keep_roles(work)
    keep(Group, *alive, *found.values())
    new: dict[int, Group] = {}
    for row in rows:
        name = names[row["id"]]
        if name in before:
            if before[name] not in alive:
                work.report.leave("groups", DELETED, name)
                continue
            work.groups[row["id"]] = (before[name], False)
            work.report.kept["groups"] += 1
        elif name in found:
            work.groups[row["id"]] = (found[name], True)
            work.report.kept["groups"] += 1
        elif not 0 < len(name) <= NAME_LENGTH:
            work.report.leave("groups", ODD_NAME, name[:NAME_LENGTH])
        else:
            properties = loaded(row["properties"])
            group = Group(
                name=name,
                properties=properties if isinstance(properties, dict) else {},
            )
            if len(str(row["properties"] or "")) > MOST_PROPERTIES:
                work.report.leave("properties of groups", "too long", name)
                group.properties = {}
            new[row["id"]] = group
    Group.objects.bulk_create(new.values())
    work.report.came["groups"] += len(new)
    for pk, group in new.items():
        work.groups[pk] = (group.pk, True)
    remember(
        "group",
        {
            names[pk]: work.groups[pk][0]
            for pk in names
            if pk in work.groups and names[pk] not in before
        },
    )
    through: Any = Group.roles.through
    _assign(
        through,
        "group",
        [
            (work.groups[pk], work.roles[role])
            for pk in names
            for role in assigned.get(pk, ())
            if pk in work.groups and role in work.roles
        ],
        "role",
    )


def _keep_roles(work: Import) -> None:
    keep(Role, *(pk for pk, _ in work.roles.values()))


def import_users(work: Import) -> None:
    """Import people with their groups and roles."""
    for rows in work.old.chunks("users"):
        with work.batch():
            wait_for(Advisory.USER_NAMES)
            _import_users(work, rows)
        work.advance("users", len(rows))


def _import_users(work: Import, rows: list[Row]) -> None:
    span = (rows[0]["id"], rows[-1]["id"])
    groups = _pairs(work, "user_group_map", "user_id", "group_id", span)
    roles = _pairs(work, "user_role_map", "user_id", "role_id", span)
    names = {row["id"]: text(row["name"]) for row in rows}
    before = recall("user", names.values())
    known = {
        user.pk: user
        for user in User.objects.filter(
            Q(name__in=names.values()) | Q(pk__in=before.values())
        )
    }
    by_name = {user.name: user for user in known.values()}
    # Memberships have foreign keys to all of these, and users change, too.
    _keep_roles(work)
    joined = {each for ids in groups.values() for each in ids if each in work.groups}
    keep(Group, *(work.groups[each][0] for each in joined))
    lock_all(User.objects.filter(pk__in=known))
    new: dict[int, User] = {}
    met: list[tuple[Row, User]] = []
    for row in rows:
        name = names[row["id"]]
        if name in before:
            user = known.get(before[name])
            if user is None:
                work.report.leave("users", DELETED, name)
                continue
            work.users[row["id"]] = Owner(user.pk, user.name, is_new=False)
            met.append((row, user))
        elif name in by_name:
            user = by_name[name]
            work.users[row["id"]] = Owner(user.pk, user.name, is_new=True)
            met.append((row, user))
        elif not is_storable(name):
            work.report.leave("users", ODD_NAME, name[:NAME_LENGTH])
        else:
            new[row["id"]] = User(
                name=name,
                password=UNUSABLE_PASSWORD_PREFIX,
                created=moment(row["created"]) or work.now,
                last_activity=moment(row["last_activity"]),
                user_info=loaded(row["user_info"]),
            )
    User.objects.bulk_create(new.values())
    work.report.came["users"] += len(new)
    work.report.kept["users"] += len(met)
    for pk, user in new.items():
        work.users[pk] = Owner(user.pk, user.name, is_new=True)
    _refresh_activity(met)
    remember(
        "user",
        {
            names[pk]: work.users[pk].pk
            for pk in names
            if pk in work.users and names[pk] not in before
        },
    )
    _import_memberships(work, rows, groups, roles)


def is_storable(name: str) -> bool:
    """Return whether a username can be part of an address.

    The configured pattern is not asked: JupyterHub keeps such people, too, and lets
    them in no more.
    """
    return (
        0 < len(name) <= NAME_LENGTH
        and "/" not in name
        and "\ufffd" not in name
        and bool(unquote(name).strip("."))
        and name == name.strip()
    )


def _refresh_activity(met: list[tuple[Row, User]]) -> None:
    newer = []
    for row, user in met:
        seen = moment(row["last_activity"])
        if seen is not None and (
            user.last_activity is None or seen > user.last_activity
        ):
            user.last_activity = seen
            newer.append(user)
    if newer:
        User.objects.bulk_update(newer, ["last_activity"], batch_size=250)


def _import_memberships(
    work: Import,
    rows: list[Row],
    groups: dict[int, list[int]],
    roles: dict[int, list[int]],
) -> None:
    blocked = work.blocked
    default = dict(
        Role.objects.filter(name__in=DEFAULT_ROLES).values_list("name", "pk")
    )
    member_of, holds, admins = [], [], []
    for row in rows:
        owner = work.users.get(row["id"])
        if owner is None or owner.name in blocked:
            if owner is not None and owner.is_new:
                work.report.leave(
                    "memberships and roles", "of people in blocked_users", owner.name
                )
            continue
        here = (owner.pk, owner.is_new)
        member_of += [
            (here, work.groups[each])
            for each in groups.get(row["id"], ())
            if each in work.groups
        ]
        wanted = [
            work.roles[each] for each in roles.get(row["id"], ()) if each in work.roles
        ]
        is_admin = bool(row["admin"]) or any(pk == default["admin"] for pk, _ in wanted)
        if work.old.is_before_roles:
            # JupyterHub gives these roles to everybody in such a database.
            wanted.append((default["user"], False))
        if is_admin:
            wanted.append((default["admin"], False))
            if owner.is_new:
                admins.append(owner.pk)
        holds += [(here, role) for role in wanted]
    groups_of: Any = User.groups.through
    roles_of: Any = User.roles.through
    work.report.came["memberships"] += _assign(groups_of, "user", member_of, "group")
    work.report.came["assignments of roles"] += _assign(roles_of, "user", holds, "role")
    if admins:
        User.objects.filter(pk__in=admins, admin=False).update(admin=True)


def _assign(
    through: Any,
    holder: str,
    pairs: Iterable[tuple[tuple[int, bool], tuple[int, bool]]],
    held: str,
) -> int:
    """Store pairs of which one side is new; return the number.

    What both sides had lost here since an earlier import does not come back.
    """
    rows = {
        (one, other): through(**{f"{holder}_id": one, f"{held}_id": other})
        for (one, one_is_new), (other, other_is_new) in pairs
        if one_is_new or other_is_new
    }
    through.objects.bulk_create(rows.values(), ignore_conflicts=True)
    return len(rows)


def assign_service_roles(through: Any, pairs: Any) -> int:
    """Store the roles of services, by the same rule."""
    return _assign(through, "service", pairs, "role")


def _pairs(
    work: Import,
    table: str,
    one: str,
    other: str,
    span: tuple[int, int] | None = None,
) -> dict[int, list[int]]:
    """Return the rows of a map, by the ids of one side."""
    found: dict[int, list[int]] = defaultdict(list)
    ranges = {} if span is None else {one: span}
    for row in work.old.rows(table, order=one, **ranges):
        found[row[one]].append(row[other])
    return found


def pairs_of_services(work: Import) -> dict[int, list[int]]:
    return _pairs(work, "service_role_map", "service_id", "role_id")
