"""Actions on users and groups.

Lists of names are sent to the database as one JSON text and become rows there, so that
a thousand names cost little more than one.
"""

# Tables and fragments in the statements are constants; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.models import NAME_LENGTH, Group, Role, User
from accounts.rights import members_among
from audit.actions import MOST_NAMES, record, record_many
from audit.models import Actor
from database.batches import HEAVY_ROWS, ROWS, Transaction, in_batches
from database.locks import (
    Advisory,
    delete_all,
    for_update,
    lock_all,
    lock_tree,
    locked,
    wait_for,
)
from scopes.access import Access
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from web.hooks import Hook

# Return why a user can't be renamed or deleted now, a running server for instance, or
# None.
delete_blockers = Hook[[User], str | None]()

# Called with the users who are being deactivated and the actor, in the transaction.
pre_deactivate = Hook[[models.QuerySet[User], Actor], object]()

# Called with the users who are being deleted and the actor, before the rows are deleted
# and in the transaction.
pre_delete = Hook[[list[User], Actor], object]()

# Limits for one call: names, and memberships.
MOST_NAMED = 10_000
MOST_MEMBERSHIPS = 50_000
# Names of one batch, which take one or two rows each, and memberships of one batch.
NAMES = MOST_NAMES
MEMBERSHIPS = 2_000

# Size of a group's properties in characters of JSON, because a list shows many groups.
MAX_PROPERTIES = 65_536

# A JSON text of names as rows `t(key, value)`.
NAMES_AS_ROWS = {
    "sqlite": "json_each(%s) AS t",
    "postgresql": (
        "jsonb_array_elements_text(%s::jsonb) WITH ORDINALITY AS t(value, key)"
    ),
}


# Names


def normalise_name(name: str) -> str:
    """Return a username as it is stored: lower case, then the configured map."""
    lowered = name.lower()
    return settings.HUB.username_map.get(lowered, lowered)


def spellings(name: str) -> list[str]:
    """Return the possible usernames for a typed name, the likeliest first.

    Names are stored in the form of `normalise_name`, except those that programs created
    with `POST /users/NAME`, which JupyterHub does not normalise. Addresses of the API
    contain exact names.
    """
    name = name.strip()
    return [] if "\0" in name else list(dict.fromkeys([name, normalise_name(name)]))


def find_typed_user(
    name: str, users: models.QuerySet[User] | None = None
) -> User | None:
    """Find a user, among all or these, by a typed name."""
    wanted = spellings(name)
    found = User.objects.all() if users is None else users
    by_name = {user.name: user for user in found.filter(name__in=wanted)}
    return next((by_name[each] for each in wanted if each in by_name), None)


def is_valid_name(name: str) -> bool:
    """Tell whether a username can be part of an address and matches the pattern."""
    return (
        bool(name)
        and len(name) <= NAME_LENGTH
        and "/" not in name
        and "\0" not in name
        and bool(unquote(name).strip("."))
        and name == name.strip()
        and (
            not settings.HUB.username_pattern
            or re.match(settings.HUB.username_pattern, name) is not None
        )
    )


def check_name(name: str) -> None:
    """Raise `Invalid` if this can't be a username."""
    check_names([name])


def check_number(names: Sequence[str], what: str) -> None:
    """Raise `Invalid` if these are more names than one call may contain."""
    if len(names) > MOST_NAMED:
        raise Invalid(
            f"{len(names)} {what} are too many for one call: name at most"
            f" {MOST_NAMED}, and the others in further calls"
        )


def check_names(names: Sequence[str]) -> None:
    """Raise `Invalid` with a list of all names that can't be usernames."""
    bad = [name for name in names if not is_valid_name(name)]
    if bad:
        shown = ", ".join(name[:NAME_LENGTH] or "(empty)" for name in bad)
        pattern = settings.HUB.username_pattern
        raise Invalid(
            f"Invalid username{'s' if len(bad) > 1 else ''}: {shown}",
            hint=f"A name has 1 to {NAME_LENGTH} characters, no slash, no blank at its "
            f"ends and not only dots{f', and matches {pattern}' if pattern else ''}.",
        )


# Users


def create_user(
    name: str, *, admin: bool = False, by: Actor, by_admin: bool = False
) -> User:
    """Create one user with exactly this name."""
    check_name(name)
    _require_admin(admin, by, by_admin)
    # Checked without a lock first, because a name that exists needs none.
    if User.objects.filter(name=name).exists():
        raise _has_user(name)
    with transaction.atomic():
        created = _add_users([name], admin=admin, by=by)
    if not created:
        raise _has_user(name)
    return User(
        pk=created[name], name=name, password=UNUSABLE_PASSWORD_PREFIX, admin=admin
    )


def create_users(
    names: Iterable[str], *, admin: bool = False, by: Actor, by_admin: bool = False
) -> dict[str, int]:
    """Create those users that do not exist yet; return their ids.

    Names are normalised, and returned in their order. Bad input creates nobody;
    otherwise users are created in batches.
    """
    wanted = list(dict.fromkeys(normalise_name(name) for name in names))
    if not wanted:
        raise Invalid("Must specify at least one user to create")
    check_number(wanted, "users")
    check_names(wanted)
    _require_admin(admin, by, by_admin)
    new = unknown_users(wanted)
    created: dict[str, int] = {}
    for batch in in_batches(new, partial(_add_users, admin=admin, by=by), size=NAMES):
        created |= batch
    if not created:
        raise Conflict(f"All {len(wanted)} users already exist")
    return created


def _has_user(name: str) -> Conflict:
    return Conflict(f"User {name} already exists")


def _require_admin(admin: bool, by: Actor, by_admin: bool) -> None:
    if admin and not _is_admin(by, by_admin):
        raise Forbidden("Only admins can grant admin permissions")


def _add_users(names: list[str], *, admin: bool, by: Actor) -> dict[str, int]:
    """Insert users that do not exist, and record their creation."""
    ids = _insert_named(User(password=UNUSABLE_PASSWORD_PREFIX, admin=admin), names)
    if not ids:
        return {}
    roles = ["user", "admin"] if admin else ["user"]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_user_roles (user_id, role_id) "
            f"SELECT CAST(t.value AS bigint), r.id FROM {_rows()}, accounts_role r "
            f"WHERE r.name IN ({', '.join(['%s'] * len(roles))})",
            [json.dumps(list(ids.values())), *roles],
        )
    record_many(by, "user.create", "user", list(ids), admin=admin)
    return {name: ids[name] for name in names if name in ids}


@transaction.atomic
def update_user(
    user: User,
    *,
    name: str | None = None,
    admin: bool | None = None,
    by: Actor,
    by_admin: bool = False,
) -> User:
    """Rename a user, or grant or revoke the role of an administrator.

    Changes of one user wait for each other, so that the flag and the role always agree.
    If two administrators demote each other, the second is no administrator any more and
    is refused.
    """
    current, asking = lock_user(user, by)
    if current is None:
        raise NotFound(f"No such user: {user.name}")
    trusted = _is_admin(by, by_admin) and (
        by.kind != "user" or (asking is not None and asking.admin and asking.is_active)
    )
    user.name, user.admin = current.name, current.admin
    new_name = None
    if name is not None and name != user.name:
        # Errors in the name are shown to every caller who may rename users.
        new_name = normalise_name(name)
        check_name(new_name)
        if User.objects.filter(name=new_name).exists():
            raise _taken(new_name)
    if user.admin and not trusted:
        raise Forbidden("Only admins can modify other admins")
    if admin and not trusted:
        raise Forbidden("Only admins can grant admin permissions")
    if new_name is not None:
        _rename(user, new_name, by=by)
    if admin is not None:
        if admin != user.admin:
            _set_admin(user, admin, by=by)
        make_user_of(user, by=by)
    return user


@transaction.atomic
def set_email(user: User, email: str, *, by: Actor) -> None:
    """Set the address for password links; an empty one stops them.

    A caller who may do this may also call `invite_user`, because both give access to
    the account.
    """
    changed = User.objects.filter(pk=user.pk).exclude(email=email)
    user.email = email
    if changed.update(email=email):
        record(by, "user.set_email", "user", user.name)


def make_user_of(user: User, *, by: Actor) -> None:
    """Give the role `user` to a user who was created for a declared token only."""
    role = Role.objects.get(name="user")
    if not user.roles.filter(pk=role.pk).exists():
        user.roles.add(role)
        record(by, "role.assign", "role", role.name, users=[user.name])


def _taken(name: str) -> Invalid:
    return Invalid(f"User {name} already exists, username must be unique")


def _rename(user: User, name: str, *, by: Actor) -> None:
    _refuse_blocked(user)
    old = user.name
    try:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(name=name)
    except IntegrityError:
        # Another request gave the role after the check.
        raise _taken(name) from None
    user.name = name
    record(by, "user.rename", "user", name, old=old)


def _set_admin(user: User, admin: bool, *, by: Actor) -> None:
    role = Role.objects.get(name="admin")
    if admin:
        user.roles.add(role)
    else:
        user.roles.remove(role)
    User.objects.filter(pk=user.pk).update(admin=admin)
    user.admin = admin
    record(by, "user.promote" if admin else "user.demote", "user", user.name)


@transaction.atomic
def invite_user(user: User, *, by: Actor, by_admin: bool = False) -> str:
    """Return the path of a link with which a user sets a password, once.

    The link gives access to the account: show it to the caller only and store it
    nowhere. It expires at the next sign-in, or after some days.
    """
    if user.admin and not _is_admin(by, by_admin):
        raise Forbidden("Only admins can modify other admins")
    record(by, "user.invite", "user", user.name)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    token = default_token_generator.make_token(user)
    return reverse("accounts:welcome", args=(uid, token))


def deactivate_users(
    users: models.QuerySet[User],
    *,
    by: Actor,
    by_admin: bool = False,
    within: Transaction = transaction.atomic,
) -> int:
    """Deactivate users until they are activated again; return the number of changes.

    Their sessions end, with the tokens obtained in them. Everything else is kept: other
    tokens are refused while the account is inactive, and are valid again afterwards.
    This is done in batches, each `within` a transaction.
    """
    chosen = users.filter(is_active=True)
    if by.kind == "user" and users.filter(name=by.name).exists():
        raise Invalid("Cannot deactivate yourself!")

    def act(ids: list[int]) -> int:
        # Deactivation also stops servers, and their capacity is locked first.
        wait_for(Advisory.CAPACITIES)
        closed = _set_active(ids, False, by=by, by_admin=by_admin)
        if closed:
            _close(users_of(closed), by)
        return len(closed)

    return sum(in_batches(administrators_first(chosen), act, within=within))


def activate_users(
    users: models.QuerySet[User],
    *,
    by: Actor,
    by_admin: bool = False,
    within: Transaction = transaction.atomic,
) -> int:
    """Activate users again, in batches; return the number of changes."""

    def act(ids: list[int]) -> int:
        return len(_set_active(ids, True, by=by, by_admin=by_admin))

    chosen = users.filter(is_active=False)
    return sum(in_batches(administrators_first(chosen), act, size=NAMES, within=within))


def administrators_first(users: models.QuerySet[User]) -> list[int]:
    """Return the ids of users, administrators first, because these may be refused."""
    rows = User.objects.filter(pk__in=users.order_by().values("pk"))
    marked = Q(admin=True) | Q(roles__name="admin") | Q(groups__roles__name="admin")
    first = set(rows.filter(marked).values_list("pk", flat=True))
    rest = rows.order_by("pk").values_list("pk", flat=True)
    return [*sorted(first), *(pk for pk in rest if pk not in first)]


def _close(users: models.QuerySet[User], by: Actor) -> None:
    """Stop and revoke what ends when a batch of users is deactivated."""
    pre_deactivate(users, by)
    sessions = UserSession.objects.filter(user__in=users.values("pk"))
    lock_all(sessions, for_deletion=True)
    delete_all(Session.objects.filter(session_key__in=sessions.values("session_key")))
    sessions.delete()


def _set_active(
    ids: list[int], active: bool, *, by: Actor, by_admin: bool
) -> list[int]:
    """Set the flag where it differs, and return the changed users."""
    whoever_asks = User.objects.filter(name=by.name if by.kind == "user" else "")
    own = set(whoever_asks.values_list("pk", flat=True))
    if own.intersection(ids) and not active:
        raise Invalid("Cannot deactivate yourself!")
    # If two administrators deactivate each other, the second waits here and is refused
    # afterwards, so that one of them stays active.
    rows = list(
        locked(users_of({*ids, *own})).values_list("pk", "name", "admin", "is_active")
    )
    trusted = _is_admin(by, by_admin)
    for pk, _, admin, is_active in rows:
        if pk in own and not is_active:
            raise Forbidden("Your own account is deactivated")
        if pk in own and not admin:
            trusted = False
    chosen = set(ids)
    changed, names = [], []
    for pk, name, admin, is_active in rows:
        if pk not in chosen or is_active == active:
            continue
        if admin and not trusted:
            raise Forbidden("Only admins can modify other admins")
        changed.append(pk)
        names.append(name)
    if changed:
        users_of(changed).update(is_active=active)
        act = "user.activate" if active else "user.deactivate"
        record_many(by, act, "user", names)
    return changed


def users_of(ids: Iterable[int]) -> models.QuerySet[User]:
    """Return users by ids, which may be more than a statement's parameters."""
    rows = RawSQL(  # noqa: S611
        f"SELECT CAST(t.value AS bigint) FROM {_rows()}", [json.dumps(list(ids))]
    )
    return User.objects.filter(pk__in=rows)


def is_named(names: Iterable[str]) -> Q:
    """Match rows by names, which may be more than a statement's parameters."""
    rows = RawSQL(  # noqa: S611
        f"SELECT t.value FROM {_rows()}", [json.dumps(list(names))]
    )
    return Q(name__in=rows)


@transaction.atomic
def delete_user(user: User, *, by: Actor) -> None:
    """Delete a user with tokens, memberships, servers and shares.

    Of several deletions at once, one succeeds. Deleting an administrator is checked
    again with the lock held: of two who delete each other, one stays.
    """
    refuse_own_deletion(user, by)
    if not _delete_some([user.pk], by=by):
        raise NotFound(f"No such user: {user.name}")


def delete_users(
    users: models.QuerySet[User],
    *,
    by: Actor,
    within: Transaction = transaction.atomic,
) -> int:
    """Delete users like `delete_user`, in batches; return their number.

    Nobody is deleted if one of them may not be deleted.
    """
    for user in users.order_by("pk").iterator(chunk_size=ROWS):
        refuse_own_deletion(user, by)
        _refuse_blocked(user)
    act = partial(_delete_some, by=by)
    ids = administrators_first(users)
    return sum(in_batches(ids, act, size=HEAVY_ROWS, within=within))


def _delete_some(ids: list[int], *, by: Actor) -> int:
    """Delete a batch of users with all their rows; return their number."""
    # With this lock a server of theirs is started either before the deletion, or never.
    doomed, asking = _lock_chosen(Q(pk__in=ids), by, for_deletion=True)
    doomed = [user for user in doomed if user.pk in ids]
    for user in doomed:
        if (
            user.admin
            and by.kind == "user"
            and not (
                asking is not None
                and asking.is_active
                and asking.access.allows("delete:users", obj=user)
            )
        ):
            raise Forbidden("You may not delete this user any more")
        _refuse_blocked(user)
    for user in doomed:
        record(by, "user.delete", "user", user.name)
    pre_delete(doomed, by)
    rows = User.objects.filter(pk__in=[user.pk for user in doomed])
    lock_tree(rows)
    _, deleted = rows.delete()
    return deleted.get(User._meta.label, 0)


def lock_users(users: models.QuerySet[User], by: Actor) -> None:
    """Lock users for their deletion, and the user who deletes them."""
    asks = Q(name=by.name) if by.kind == "user" else Q(pk__in=())
    chosen = Q(pk__in=users.order_by().values("pk"))
    lock_all(User.objects.filter(chosen | asks), for_deletion=True)
    lock_tree(User.objects.filter(chosen))


def lock_user(
    user: User, by: Actor, *, for_deletion: bool = False
) -> tuple[User | None, User | None]:
    """Lock a user and the acting user; return both with their current values.

    The rights of the acting user can't be revoked before the transaction ends.
    """
    rows, asking = _lock_chosen(Q(pk=user.pk), by, for_deletion=for_deletion)
    return next((row for row in rows if row.pk == user.pk), None), asking


def _lock_chosen(
    chosen: Q, by: Actor, *, for_deletion: bool
) -> tuple[list[User], User | None]:
    """Lock users with the acting user; return the users, and the acting one."""
    asks = Q(name=by.name) if by.kind == "user" else Q(pk__in=())
    rows = list(locked(User.objects.filter(chosen | asks), for_deletion=for_deletion))
    if by.kind != "user":
        return rows, None
    return rows, next((row for row in rows if row.name == by.name), None)


def refuse_own_deletion(user: User, by: Actor) -> None:
    """Raise `Invalid` if users try to delete themselves."""
    if by.kind == "user" and by.name == user.name:
        raise Invalid("Cannot delete yourself!")


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
    new = _until_taken(wanted)
    known = list(_known_users(members).values())

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


def _until_taken(names: list[str]) -> list[str]:
    """Return the names before the first that exists or is a duplicate."""
    taken = set(Group.objects.filter(name__in=names).values_list("name", flat=True))
    for position, name in enumerate(names):
        if name in taken:
            return names[:position]
        taken.add(name)
    return names


def _add_groups(
    names: list[str], known: list[str], fields: dict[str, Any]
) -> list[Group]:
    """Insert groups, none of which may exist, and their members."""
    ids = _insert_named(Group(**fields), names)
    for name in names:
        if name not in ids:
            # Another request created a group after the check.
            raise Conflict(f"Group {name} already exists")
    if known:
        _insert_members(list(ids.values()), known)
    return [Group(pk=ids[name], name=name, **fields) for name in names]


def check_adding(access: Access, by: Actor, group: Group) -> None:
    """Refuse to add members with a filtered `groups` if the group gives more rights.

    Otherwise the caller could join the group to get these rights.
    """
    given = partial(group.scopes_for, by.name)
    if not access.may_hand_out(given, "groups", members_among):
        raise Forbidden(
            f"The roles of group {group.name} give scopes that you lack; only those add"
            " members who may change every group."
        )


def add_members(group: Group, names: Iterable[str], *, by: Actor) -> int:
    """Add users to a group, in batches; return the number of new members.

    Nobody is added if one of the names has no user.
    """

    def act(some: list[tuple[int, str]]) -> int:
        new = _insert_members([group.pk], [name for _, name in some])
        return _record_members(by, "group.add_members", group, some, new)

    known = _known_users(list(names))
    return sum(in_batches(known.items(), act, size=NAMES))


def remove_members(group: Group, names: Iterable[str], *, by: Actor) -> int:
    """Remove users from a group, in batches; return the number of removed members.

    Nobody is removed if one of the names has no user.
    """

    def act(some: list[tuple[int, str]]) -> int:
        gone = _delete_members(group, [pk for pk, _ in some])
        return _record_members(by, "group.remove_members", group, some, gone)

    known = _known_users(list(names))
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


def unknown_users(names: Iterable[str]) -> list[str]:
    """Return those of these usernames that no user has, in their order."""
    wanted = list(names)
    known = set(_ids_of_users(wanted).values())
    return [name for name in wanted if normalise_name(name) not in known]


def _insert_members(groups: list[int], names: list[str]) -> set[int]:
    """Add users to groups; return the ids of those who were not in all of them."""
    with connection.cursor() as cursor:
        # Rows are inserted in the order of ids, so that two transactions with the same
        # users wait for each other without a deadlock.
        cursor.execute(
            "INSERT INTO accounts_user_groups (user_id, group_id) "
            f"SELECT DISTINCT u.id, g.id FROM {_rows()} "
            "JOIN accounts_user u ON u.name = t.value "
            "JOIN accounts_group g ON g.id IN "
            f"(SELECT CAST(t.value AS bigint) FROM {_rows()}) "
            "WHERE true ORDER BY u.id, g.id ON CONFLICT DO NOTHING RETURNING user_id",
            [json.dumps(names), json.dumps(groups)],
        )
        return {pk for (pk,) in cursor.fetchall()}


def _delete_members(group: Group, ids: list[int]) -> set[int]:
    """Remove users from a group; return the ids of those who were members."""
    with connection.cursor() as cursor:
        cursor.execute(
            # In the same order as in `_insert_members`.
            "DELETE FROM accounts_user_groups WHERE id IN "
            "(SELECT id FROM accounts_user_groups WHERE group_id = %s "
            f"AND user_id IN (SELECT CAST(t.value AS bigint) FROM {_rows()}) "
            f"ORDER BY user_id{for_update()}) RETURNING user_id",
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


def _known_users(names: list[str]) -> dict[int, str]:
    """Return the ids and names of users; refuse names without a user."""
    check_number(names, "users")
    known = _ids_of_users(names)
    if len(known) < len(set(names)):
        there = set(known.values())
        for name in map(normalise_name, names):
            if name not in there:
                raise Invalid(f"No such user: {name}")
    return known


def _ids_of_users(names: list[str]) -> dict[int, str]:
    """Return ids and normalised names of users, in the order of the names."""
    if not names:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT u.id, u.name FROM {_rows()} "
            "JOIN accounts_user u ON u.name = t.value ORDER BY t.key",
            [json.dumps([normalise_name(name) for name in names])],
        )
        return dict(cursor.fetchall())


# Users and groups


def _rows() -> str:
    return NAMES_AS_ROWS[connection.vendor]


def _insert_named(template: models.Model, names: list[str]) -> dict[str, int]:
    """Insert one row per name as copies of `template`; return the ids of new rows.

    Names that exist are skipped, also those that another transaction has just inserted.
    """
    meta = template._meta
    fields = [
        field
        for field in meta.concrete_fields
        if not field.primary_key and field.name != "name"
    ]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    values = [
        field.get_db_prep_save(field.pre_save(template, True), connection)
        for field in fields
    ]
    if len(names) > 1:
        wait_for(
            Advisory.USER_NAMES if isinstance(template, User) else Advisory.GROUP_NAMES
        )
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{meta.db_table}" (name, {columns}) '
            f"SELECT t.value, {', '.join(['%s'] * len(fields))} FROM {_rows()} "
            "WHERE true ORDER BY t.key ON CONFLICT (name) DO NOTHING "
            "RETURNING name, id",
            [*values, json.dumps(names)],
        )
        return dict(cursor.fetchall())


def _is_admin(by: Actor, by_admin: bool) -> bool:
    return by_admin or by.kind == "system"


def _refuse_blocked(user: User) -> None:
    for reason in delete_blockers(user):
        if reason:
            raise Invalid(reason)
