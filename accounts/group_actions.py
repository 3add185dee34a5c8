"""Actions on groups and their members."""

# Tables and fragments in the statements are constants; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

from django.db import connection, models, transaction

from accounts.configured import roles_of_group
from accounts.models import NAME_LENGTH, Group, Role
from accounts.naming import (
    NAMES,
    check_number,
    insert_named,
    known_users,
    names_as_rows,
    until_taken,
)
from accounts.rights import members_among
from audit.actions import record, record_many
from audit.models import Actor
from database.batches import HEAVY_ROWS, Transaction, in_batches
from database.locks import (
    for_update,
    keep,
    lock_tree,
    locked,
)
from scopes.access import Access, Identity, expand
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound

# Limit of memberships in one call, and of one batch.
MOST_MEMBERSHIPS = 50_000
MEMBERSHIPS = 2_000
# Size of a group's properties in characters of JSON, because a list shows many groups.
MAX_PROPERTIES = 65_536


# Groups
def create_group(
    name: str, *, users: Iterable[str] = (), by: Actor, **fields: Any
) -> Group:
    """Create one group with its members."""
    return create_groups([name], users=users, by=by, **fields)[0]


def create_groups(
    names: Iterable[str], *, users: Iterable[str] = (), by: Actor, **fields: Any
) -> list[Group]:
    """Create groups with the same members each.

    Bad input creates none. As in JupyterHub, a name that exists stops the work, and the
    groups before it in the list are created.
    """
    wanted = list(names)
    if not wanted:
        raise Invalid("Must specify at least one group to create")
    members = list(users)
    check_number(wanted, "groups")
    check_number(members, "users")
    if len(wanted) * len(members) > MOST_MEMBERSHIPS:
        raise Invalid(
            f"{len(wanted)} groups with {len(members)} members each are too many for"
            f" one call, which makes at most {MOST_MEMBERSHIPS} memberships"
        )
    check_group_names(wanted)
    # Checked without a lock first, because a name that exists needs none.
    new = until_taken(wanted)
    known = list(known_users(members).values())

    first, rest = known[:NAMES], known[NAMES:]

    def act(some: list[str]) -> list[Group]:
        made = _add_groups(some, first, fields)
        record_many(by, "group.create", "group", some, users=first)
        return made

    size = min(NAMES, MEMBERSHIPS // max(1, len(first)))
    groups = [group for made in in_batches(new, act, size=size) for group in made]
    for group in groups if rest else ():
        add_members(group, rest, by=by)
    if len(new) < len(wanted):
        raise Conflict(f"Group {wanted[len(new)]} already exists")
    return groups


def check_group_names(names: Iterable[str]) -> None:
    """Raise `Invalid` if one of these can't be the name of a group."""
    for name in names:
        if not name or len(name) > NAME_LENGTH or "\0" in name:
            raise Invalid(
                f"Invalid group name: {name[:NAME_LENGTH] or '(empty)'}. "
                f"A name has 1 to {NAME_LENGTH} characters."
            )


def check_properties(properties: dict[str, Any]) -> None:
    """Raise `Invalid` if these properties of a group are too large."""
    if len(json.dumps(properties)) > MAX_PROPERTIES:
        raise Invalid(
            f"The properties of a group are at most {MAX_PROPERTIES} characters as"
            " JSON: put less into them"
        )


def _add_groups(
    names: list[str], known: list[str], fields: dict[str, Any]
) -> list[Group]:
    """Insert groups, none of which may exist, and their members."""
    ids = insert_named(Group(**fields), names)
    for name in names:
        if name not in ids:
            # Another request created a group after the check.
            raise Conflict(f"Group {name} already exists")
    if known:
        _insert_members(list(ids.values()), known)
    return [Group(pk=ids[name], name=name, **fields) for name in names]


def check_adding(access: Access, by: Actor, names: Sequence[str]) -> None:
    """Refuse to add members with a filtered `groups` if a group gives more rights.

    Otherwise the caller could join the group to get these rights. The roles that the
    configuration gives to a group of this name count as well, because a group that is
    deleted and created again gets them at the next start.
    """
    check_number(names, "groups")
    if access.reach("groups") is None:
        return
    member = Identity("user", by.name)
    for name, raws in _scopes_by_group(names).items():
        given = partial(expand, raws, member)
        if not access.may_hand_out(given, "groups", members_among):
            raise Forbidden(
                f"The roles of group {name} give scopes that you lack; only those add"
                " members who may change every group."
            )


def _scopes_by_group(names: Sequence[str]) -> dict[str, set[str]]:
    """Return the raw scopes that members have by each group of these names."""
    found: dict[str, set[str]] = {}
    held = Role.objects.filter(groups__name__in=names)
    for name, scopes in held.values_list("groups__name", "scopes"):
        found.setdefault(name, set()).update(scopes)
    configured = {name: roles_of_group(name) for name in names}
    roles = Role.objects.filter(name__in=set(chain.from_iterable(configured.values())))
    scopes_of = dict(roles.values_list("name", "scopes"))
    for name, given in configured.items():
        for role in given:
            found.setdefault(name, set()).update(scopes_of.get(role, ()))
    return found


def add_members(group: Group, names: Iterable[str], *, by: Actor) -> int:
    """Add users to a group, in batches; return the number of new members.

    Nobody is added if one of the names has no user.
    """

    def act(some: list[tuple[int, str]]) -> int:
        # The foreign keys are checked in another order, the user's first.
        keep(Group, group.pk)
        new = _insert_members([group.pk], [name for _, name in some])
        return _record_members(by, "group.add_members", group, some, new)

    known = known_users(list(names))
    return sum(in_batches(known.items(), act, size=NAMES))


def remove_members(group: Group, names: Iterable[str], *, by: Actor) -> int:
    """Remove users from a group, in batches; return the number of removed members.

    Nobody is removed if one of the names has no user.
    """

    def act(some: list[tuple[int, str]]) -> int:
        gone = _delete_members(group, [pk for pk, _ in some])
        return _record_members(by, "group.remove_members", group, some, gone)

    known = known_users(list(names))
    return sum(in_batches(known.items(), act, size=NAMES))


@transaction.atomic
def set_properties(group: Group, properties: dict[str, Any], *, by: Actor) -> None:
    """Replace all properties of a group."""
    check_properties(properties)
    current = locked(Group.objects.filter(pk=group.pk)).first()
    if current is None:
        raise NotFound(f"No such group: {group.name}")
    # Compared as texts, because true and 1 are equal in Python.
    before = {key: json.dumps(value) for key, value in current.properties.items()}
    after = {key: json.dumps(value) for key, value in properties.items()}
    group.properties = properties
    if after == before:
        return
    Group.objects.filter(pk=group.pk).update(properties=properties)
    # Properties may be private, so the audit log gets only the names of those that are
    # set.
    keys = sorted(key for key, text in after.items() if before.get(key) != text)
    record(by, "group.set_properties", "group", group.name, keys=keys)


@transaction.atomic
def delete_group(group: Group, *, by: Actor) -> None:
    """Delete a group; its members stay users."""
    lock_tree(Group.objects.filter(pk=group.pk))
    record(by, "group.delete", "group", group.name)
    _, deleted = group.delete()
    if not deleted.get(Group._meta.label):
        raise NotFound(f"No such group: {group.name}")


def delete_groups(
    groups: models.QuerySet[Group],
    *,
    by: Actor,
    within: Transaction = transaction.atomic,
) -> int:
    """Delete groups like `delete_group`, in batches; return their number."""

    def act(ids: list[int]) -> int:
        chosen = Group.objects.filter(pk__in=ids)
        lock_tree(chosen)
        for name in chosen.order_by("pk").values_list("name", flat=True):
            record(by, "group.delete", "group", name)
        _, deleted = chosen.delete()
        return deleted.get(Group._meta.label, 0)

    rows = groups.order_by()
    giving = set(rows.filter(roles__name="admin").values_list("pk", flat=True))
    # Groups whose deletion may be refused come in the first batch.
    ids = sorted(
        rows.values_list("pk", flat=True), key=lambda pk: (pk not in giving, pk)
    )
    return sum(in_batches(ids, act, size=HEAVY_ROWS, within=within))


def _insert_members(groups: list[int], names: list[str]) -> set[int]:
    """Add users to groups; return the ids of those who were not in all of them."""
    with connection.cursor() as cursor:
        # Rows are inserted in the order of ids, so that two transactions with the same
        # users wait for each other without a deadlock.
        cursor.execute(
            "INSERT INTO accounts_user_groups (user_id, group_id) "
            f"SELECT DISTINCT u.id, g.id FROM {names_as_rows()} "
            "JOIN accounts_user u ON u.name = t.value "
            "JOIN accounts_group g ON g.id IN "
            f"(SELECT CAST(t.value AS bigint) FROM {names_as_rows()}) "
            "WHERE true ORDER BY u.id, g.id ON CONFLICT DO NOTHING RETURNING user_id",
            [json.dumps(names), json.dumps(groups)],
        )
        return {pk for (pk,) in cursor.fetchall()}


def _delete_members(group: Group, ids: list[int]) -> set[int]:
    """Remove users from a group; return the ids of those who were members."""
    with connection.cursor() as cursor:
        cursor.execute(
            # Deletions of groups and users lock these rows in this order, too.
            "DELETE FROM accounts_user_groups WHERE id IN "
            "(SELECT id FROM accounts_user_groups WHERE group_id = %s "
            f"AND user_id IN (SELECT CAST(t.value AS bigint) FROM {names_as_rows()}) "
            f"ORDER BY id{for_update()}) RETURNING user_id",
            [group.pk, json.dumps(ids)],
        )
        return {pk for (pk,) in cursor.fetchall()}


def _record_members(
    by: Actor, act: str, group: Group, users: list[tuple[int, str]], changed: set[int]
) -> int:
    """Record the names of changed members, and return their number."""
    if changed:
        names = [name for pk, name in users if pk in changed]
        record(by, act, "group", group.name, users=names)
    return len(changed)
