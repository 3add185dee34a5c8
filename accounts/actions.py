"""Actions on users."""

# Tables and fragments in the statements are constants; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.configured import refuse_names_with_rights
from accounts.models import Role, User
from accounts.naming import (
    NAMES,
    check_name,
    check_names,
    check_number,
    insert_named,
    names_as_rows,
    normalise_name,
    unknown_users,
    users_of,
)
from audit.actions import record, record_many
from audit.models import Actor
from database.batches import HEAVY_ROWS, ROWS, Transaction, in_batches
from database.locks import (
    Advisory,
    delete_all,
    lock_all,
    lock_tree,
    locked,
    wait_for,
)
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

# Prepares accounts that are about to be created; see `accounts.hosting.account_hooks`.
Prepare = Callable[[list[str]], object]


# Users
def create_user(
    name: str,
    *,
    admin: bool = False,
    by: Actor,
    by_admin: bool = False,
    prepare: Prepare | None = None,
) -> User:
    """Create one user with exactly this name.

    `prepare` is called with the names of new users after all checks, and may refuse.
    """
    check_name(name)
    _require_admin(admin, by, by_admin)
    # Checked without a lock first, because a name that exists needs none.
    if User.objects.filter(name=name).exists():
        raise _has_user(name)
    if not _is_admin(by, by_admin):
        refuse_names_with_rights([name])
    if prepare is not None:
        prepare([name])
    with transaction.atomic():
        created = add_users([name], admin=admin, by=by)
    if not created:
        raise _has_user(name)
    return User(
        pk=created[name], name=name, password=UNUSABLE_PASSWORD_PREFIX, admin=admin
    )


def create_users(
    names: Iterable[str],
    *,
    admin: bool = False,
    by: Actor,
    by_admin: bool = False,
    prepare: Prepare | None = None,
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
    if not _is_admin(by, by_admin):
        refuse_names_with_rights(new)
    if prepare is not None:
        prepare(new)
    created: dict[str, int] = {}
    for batch in in_batches(new, partial(add_users, admin=admin, by=by), size=NAMES):
        created |= batch
    if not created:
        raise Conflict(f"All {len(wanted)} users already exist")
    return created


def _has_user(name: str) -> Conflict:
    return Conflict(f"User {name} already exists")


def _require_admin(admin: bool, by: Actor, by_admin: bool) -> None:
    if admin and not _is_admin(by, by_admin):
        raise Forbidden("Only admins can grant admin permissions")


def add_users(names: list[str], *, admin: bool, by: Actor) -> dict[str, int]:
    """Insert users that do not exist, and record their creation; return their ids.

    The names are checked, and `by` may give them these rights.
    """
    ids = insert_named(User(password=UNUSABLE_PASSWORD_PREFIX, admin=admin), names)
    if not ids:
        return {}
    roles = ["user", "admin"] if admin else ["user"]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_user_roles (user_id, role_id) "
            f"SELECT CAST(t.value AS bigint), r.id FROM {names_as_rows()}, "
            "accounts_role r "
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
    # A new name excludes foreign keys to the row, as a deletion does.
    current, asking = lock_user(user, by, for_deletion=name is not None)
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
        if not trusted:
            refuse_names_with_rights([new_name])
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
    leave_administrators_to_administrators(user, by, by_admin)
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


def leave_administrators_to_administrators(
    user: User, by: Actor, by_admin: bool
) -> None:
    """Raise `Forbidden` if somebody else is to get access to an administrator.

    Somebody whom the configuration names as administrator becomes one at the next
    sign-in, also after having been demoted.
    """
    if is_administrator(user) and not _is_admin(by, by_admin):
        raise Forbidden("Only admins can modify other admins")


def is_administrator(user: User) -> bool:
    """Return whether a user is an administrator now, or after the next sign-in."""
    return user.admin or user.name in settings.HUB.admin_users


def _is_admin(by: Actor, by_admin: bool) -> bool:
    return by_admin or by.kind == "system"


def _refuse_blocked(user: User) -> None:
    for reason in delete_blockers(user):
        if reason:
            raise Invalid(reason)
