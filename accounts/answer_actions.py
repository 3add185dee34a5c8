"""Apply what an authenticator says of a person to the person's account.

Sign-in and refresh share `apply_answer`. Its rules are JupyterHub's:

* `admin` makes an administrator of the person, or takes that away; None leaves it.
* Groups are exactly those of the answer; new ones are created.
* Roles are exactly those of the answer, so that roles of the configuration and even the
  role `user` are taken away. A role with scopes is created or changed. A role that an
  answer created is deleted with its last holder.

One difference: the flag `admin` always agrees with the role `admin`. An answer that
names roles, and `admin` not among them, makes no administrator.

The changes are computed without locks, and are then made in one
transaction in the order of `database.locks`. Most answers change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import auth_state
from accounts.actions import create_user, make_user_of
from accounts.answers import HOLDERS, Answer, ManagedRole
from accounts.models import Group, Role, User
from accounts.naming import insert_named
from audit.actions import record
from audit.models import Actor
from database.locks import (
    Advisory,
    delete_all,
    lock_all,
    lock_and_keep,
    lock_tree,
    locked,
    wait_for,
)
from scopes.definitions import DEFAULT_ROLES
from scopes.refusals import Conflict, NotFound

logger = structlog.get_logger(__name__)

# Tries to apply an answer while others delete what the answer names.
TRIES: Final = 3


def apply_answer(answer: Answer, *, by: Actor, makes_account: bool = True) -> User:
    """Bring an account in line with an answer, and return the user.

    If there is no account, it is created, or `NotFound` is raised. Whether the person
    may sign in is decided by others: this function checks neither blocked names nor
    inactive accounts.
    """
    for attempt in range(1, TRIES + 1):
        try:
            user, abandoned = _apply(answer, by, makes_account)
            break
        except IntegrityError:
            # A role or group of the answer was deleted meanwhile, or the account of the
            # same name was created by another first sign-in.
            if attempt == TRIES:
                raise
    for pk in abandoned:
        _delete_unheld(pk, by=by)
    return user


def note_refresh(user: User) -> None:
    """Store that the authenticator has found a user up to date just now."""
    user.auth_refreshed_at = timezone.now()
    User.objects.filter(pk=user.pk).update(auth_refreshed_at=user.auth_refreshed_at)


def _apply(answer: Answer, by: Actor, makes_account: bool) -> tuple[User, list[int]]:
    """Apply an answer; return the user, and roles that may have no holder any more."""
    user = User.objects.filter(name=answer.name).first()
    if user is None and not makes_account:
        raise NotFound(f"No such user: {answer.name}")
    roles = None if answer.roles is None else RoleChanges.of(answer.roles, user)
    groups = None if answer.groups is None else _groups(answer.groups, user)
    with transaction.atomic():
        if groups is not None and len(groups.new) > 1:
            wait_for(Advisory.GROUP_NAMES)
        if roles is not None:
            roles.define(by)
        _lock_groups(groups, roles)
        if groups is not None:
            groups.create(by)
        others = set() if roles is None else roles.holders("users")
        if (roles is not None and roles.changes) or (groups and groups.changes):
            _lock_users(user, others)
        if roles is not None:
            roles.lock_holders("services")
        if user is None:
            user = _create(answer, by)
        if roles is None:
            _settle_admin(user, answer.admin, by)
        else:
            roles.assign("groups", user, by)
            roles.assign("users", user, by)
        if groups is not None:
            groups.move(user, by)
        if roles is not None:
            roles.assign("services", user, by)
        _keep_facts(user, answer, by)
    return user, [] if roles is None else roles.abandoned


def _create(answer: Answer, by: Actor) -> User:
    """Insert an account, with the usual roles unless the answer names roles."""
    if answer.roles is None:
        try:
            return create_user(answer.name, admin=bool(answer.admin), by=by)
        except Conflict as problem:
            raise IntegrityError(problem.message) from problem
    user = User(name=answer.name, password=UNUSABLE_PASSWORD_PREFIX)
    ids = insert_named(user, [answer.name])
    if not ids:
        raise IntegrityError(f"User {answer.name} was created meanwhile")
    record(by, "user.create", "user", user.name, admin=False)
    return User.objects.get(pk=ids[answer.name])


def _lock_groups(groups: _Groups | None, roles: RoleChanges | None) -> None:
    """Lock the groups that get or lose roles, and keep those that the user joins."""
    joined = () if groups is None else groups.joined.values()
    lock_and_keep(Group, () if roles is None else roles.holders("groups"), joined)


def _lock_users(user: User | None, others: set[int]) -> None:
    """Lock other users, and this one, who may have been deleted meanwhile."""
    ids = others if user is None else others | {user.pk}
    rows = locked(User.objects.filter(pk__in=ids))
    admin = dict(rows.values_list("pk", "admin")) if ids else {}
    if user is not None:
        if user.pk not in admin:
            raise Conflict(f"User {user.name} was deleted meanwhile")
        user.admin = admin[user.pk]


def _settle_admin(user: User, admin: bool | None, by: Actor) -> None:
    """Give or take the role of an administrator, and give the role `user`."""
    if admin is not None and admin != user.admin:
        _lock_users(user, set())
        role = Role.objects.get(name="admin")
        if admin:
            user.roles.add(role)
        else:
            user.roles.remove(role)
        set_admin_flag(user, admin, by)
    make_user_of(user, by=by)


def set_admin_flag(user: User, admin: bool, by: Actor) -> None:
    """Have the flag agree with the role; the caller has changed the role."""
    if user.admin != admin:
        User.objects.filter(pk=user.pk).update(admin=admin)
        user.admin = admin
        record(by, "user.promote" if admin else "user.demote", "user", user.name)


def _keep_facts(user: User, answer: Answer, by: Actor) -> None:
    """Store the profile, the auth state, and that the user was refreshed just now."""
    changed: dict[str, Any] = {"auth_refreshed_at": timezone.now()}
    info = answer.user_info
    if info is not None and json.dumps(info) != json.dumps(user.user_info):
        changed["user_info"] = info
        # The profile may be private, so that the audit log gets only the keys.
        record(by, "user.set_info", "user", user.name, keys=sorted(info))
    User.objects.filter(pk=user.pk).update(**changed)
    for name, value in changed.items():
        setattr(user, name, value)
    if answer.has_auth_state:
        kept = answer.auth_state if settings.HUB.crypt_keys else None
        auth_state.save(user.pk, kept)


# Groups


@dataclass
class _Groups:
    """The groups that a user joins and leaves, by name."""

    joined: dict[str, int]
    left: dict[str, int]
    new: list[str]

    @property
    def changes(self) -> bool:
        return bool(self.joined or self.left or self.new)

    def create(self, by: Actor) -> None:
        if not self.new:
            return
        made = insert_named(Group(), self.new)
        for name in self.new:
            if name not in made:
                # Its place in the order of ids may have passed.
                raise IntegrityError(f"Group {name} was created meanwhile")
            record(by, "group.create", "group", name, users=[])
        self.joined |= made

    def move(self, user: User, by: Actor) -> None:
        through = User.groups.through._default_manager
        if self.joined:
            user.groups.add(*self.joined.values())
        if self.left:
            delete_all(through.filter(user=user.pk, group__in=self.left.values()))
        for act, names in (
            ("group.add_members", self.joined),
            ("group.remove_members", self.left),
        ):
            for name in sorted(names):
                record(by, act, "group", name, users=[user.name])


def _groups(names: Iterable[str], user: User | None) -> _Groups:
    """Compare the groups of a user with those of an answer."""
    wanted = set(names)
    present = {} if user is None else dict(user.groups.values_list("name", "pk"))
    left = {name: pk for name, pk in present.items() if name not in wanted}
    missing = wanted - present.keys()
    known = (
        dict(Group.objects.filter(name__in=missing).values_list("name", "pk"))
        if missing
        else {}
    )
    return _Groups(known, left, sorted(missing - known.keys()))


# Roles


@dataclass
class RoleChanges:
    """The roles of an answer, and what has to change for them."""

    wanted: dict[str, ManagedRole]
    # Ids of all roles that are concerned, by name.
    ids: dict[str, int]
    # What roles are to become, as far as they differ.
    updates: dict[str, dict[str, Any]]
    new: list[str]
    # Roles that the user gets and loses.
    given: set[str]
    taken: dict[str, int]
    # By role and kind, the ids and names of holders that are added and removed.
    added: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    removed: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, roles: Iterable[ManagedRole], user: User | None, *, resets: bool = False
    ) -> RoleChanges:
        """Compare roles with those that are stored, and a user's with all of them.

        With `resets`, scopes and descriptions that are empty count as well.
        """
        wanted = {role.name: role for role in roles}
        held = {} if user is None else dict(user.roles.values_list("name", "pk"))
        known = {role.name: role for role in Role.objects.filter(name__in=wanted)}
        self = cls(
            wanted=wanted,
            ids={role.name: role.pk for role in known.values()} | held,
            updates={
                name: fields
                for name, role in known.items()
                if (fields := _difference(role, wanted[name], resets))
            },
            new=sorted(wanted.keys() - known.keys()),
            given=set() if resets else wanted.keys() - held.keys(),
            taken={name: pk for name, pk in held.items() if name not in wanted},
        )
        for role in wanted.values():
            for kind, names in role.holders.items():
                self._compare_holders(role.name, kind, names, user)
        return self

    def _compare_holders(
        self, role: str, kind: str, names: Iterable[str], user: User | None
    ) -> None:
        """Note who gets and who loses a role by the list in the answer."""
        model = _model_of(kind)
        listed = dict(
            model._default_manager.filter(name__in=names).values_list("pk", "name")
        )
        missing = set(names) - set(listed.values())
        if kind == "users" and user is not None:
            # The user of the answer is treated apart.
            missing.discard(user.name)
            listed.pop(user.pk, None)
        if missing:
            logger.warning(
                "A role could not be given, because its holders do not exist",
                role=role,
                kind=kind,
                missing=sorted(missing),
            )
        present: dict[int, str] = {}
        if role in self.ids:
            held = model._default_manager.filter(roles=self.ids[role])
            present = dict(held.values_list("pk", "name"))
            if kind == "users" and user is not None:
                present.pop(user.pk, None)
        added = {pk: name for pk, name in listed.items() if pk not in present}
        removed = {pk: name for pk, name in present.items() if pk not in listed}
        if added:
            self.added[role, kind] = added
        if removed:
            self.removed[role, kind] = removed

    @property
    def changes(self) -> bool:
        return bool(
            self.updates
            or self.new
            or self.given
            or self.taken
            or self.added
            or self.removed
        )

    @property
    def abandoned(self) -> list[int]:
        """Roles that lost a holder."""
        lost = {role for role, _ in self.removed}
        return [*self.taken.values(), *(self.ids[name] for name in sorted(lost))]

    def define(self, by: Actor, *, declares: bool = False) -> None:
        """Create and change roles, and keep all that are assigned.

        With `declares`, all count as declared from now on.
        """
        changed = {self.ids[name] for name in self.updates}
        if declares:
            changed.update(self.ids.values())
        lock_and_keep(Role, changed, self.ids.values())
        for name, fields in sorted(self.updates.items()):
            Role.objects.filter(name=name).update(**fields)
            record(by, "role.define", "role", name, **_shown(fields))
        for name in self.new:
            role = self.wanted[name]
            fields = {
                "description": role.description or "",
                "scopes": list(role.scopes or ()),
            }
            made = insert_named(
                Role(**fields, managed_by_auth=True, is_declared=False), [name]
            )
            if not made:
                raise IntegrityError(f"Role {name} was created meanwhile")
            self.ids |= made
            record(by, "role.define", "role", name, **_shown(fields))
        if declares:
            Role.objects.filter(pk__in=self.ids.values()).update(is_declared=True)

    def declare(self, by: Actor) -> None:
        """Make all changes; of roles alone, without a user."""
        self.define(by, declares=True)
        for kind in HOLDERS:
            self.lock_holders(kind)
        for kind in HOLDERS:
            self.assign(kind, None, by)

    def lock_holders(self, kind: str) -> None:
        lock_all(_model_of(kind)._default_manager.filter(pk__in=self.holders(kind)))

    def holders(self, kind: str) -> set[int]:
        """Return the other holders of a kind who are added or removed."""
        changes = (*self.added.items(), *self.removed.items())
        return {pk for (_, each), who in changes if each == kind for pk in who}

    def assign(self, kind: str, user: User | None, by: Actor) -> None:
        """Give roles to holders of a kind, and take them; the flag `admin` follows."""
        through = getattr(Role, kind).through._default_manager
        holder = "user" if kind == "users" else kind.removesuffix("s")
        gone = Q(pk__in=())
        for (role, each), who in self.removed.items():
            if each == kind:
                gone |= Q(role=self.ids[role], **{f"{holder}__in": who})
        if kind == "users" and user is not None:
            gone |= Q(role__in=self.taken.values(), user=user)
        lock_all(through.filter(gone), for_deletion=True)
        for (role, each), who in sorted(self.removed.items()):
            if each == kind:
                self._take(role, kind, who, by)
        for (role, each), who in sorted(self.added.items()):
            if each == kind:
                self._give(role, kind, who, by)
        if kind == "users" and user is not None:
            one = {user.pk: user.name}
            for name in sorted(self.taken):
                self._take(name, kind, one, by)
            for name in sorted(self.given):
                self._give(name, kind, one, by)
            if "admin" in self.given or "admin" in self.taken:
                user.refresh_from_db(fields=["admin"])

    def _give(self, role: str, kind: str, who: Mapping[int, str], by: Actor) -> None:
        relation = getattr(Role(pk=self.ids[role]), kind)
        managed = {"managed_by_auth": True} if kind == "users" else None
        relation.add(*sorted(who), through_defaults=managed)
        self._note("role.assign", role, kind, who, by)
        if role == "admin" and kind == "users":
            for user in User.objects.filter(pk__in=who, admin=False):
                set_admin_flag(user, True, by)

    def _take(self, role: str, kind: str, who: Mapping[int, str], by: Actor) -> None:
        getattr(Role(pk=self.ids[role]), kind).remove(*sorted(who))
        self._note("role.withdraw", role, kind, who, by)
        if role == "admin" and kind == "users":
            for user in User.objects.filter(pk__in=who, admin=True):
                set_admin_flag(user, False, by)

    def _note(
        self, act: str, role: str, kind: str, who: Mapping[int, str], by: Actor
    ) -> None:
        record(by, act, "role", role, **{kind: sorted(who.values())})


def _model_of(kind: str) -> Any:
    """Return the model of holders; services are in a room further right."""
    return User if kind == "users" else getattr(Role, kind).rel.related_model


def _difference(role: Role, wanted: ManagedRole, resets: bool) -> dict[str, Any]:
    """Return the fields of a role that an answer changes.

    As in JupyterHub, an empty list of scopes leaves those of the role, and the role
    `admin` stays as it is.
    """
    fields: dict[str, Any] = {}
    if role.name == "admin":
        return fields
    if wanted.description is not None and wanted.description != role.description:
        fields["description"] = wanted.description
    scopes = list(wanted.scopes or ())
    if (scopes or resets) and scopes != role.scopes:
        fields["scopes"] = scopes
    return fields


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"scopes": fields["scopes"]} if "scopes" in fields else {}


def _delete_unheld(pk: int, *, by: Actor) -> None:
    """Delete a role that only answers defined, once nobody holds it."""
    role = Role.objects.filter(pk=pk, managed_by_auth=True, is_declared=False).first()
    if role is None or role.name in DEFAULT_ROLES or _is_held(role):
        return
    with transaction.atomic():
        lock_tree(Role.objects.filter(pk=pk))
        # Somebody may have got the role before it was locked.
        if not _is_held(role) and Role.objects.filter(pk=pk).exists():
            record(by, "role.delete", "role", role.name)
            role.delete()


def _is_held(role: Role) -> bool:
    return any(getattr(role, kind).exists() for kind in HOLDERS)
