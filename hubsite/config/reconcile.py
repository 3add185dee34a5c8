"""Reconciliation of the database with the configuration, at every start.

Rows are looked up by the names in the configuration; existing users are not read, so a
start costs the same with ten users and with a hundred thousand. A second run changes
and records nothing.

A refused configuration changes nothing. So all names of users and groups are checked
first. Then roles, services, tokens and clients are stored in one transaction, which may
refuse its input; and then users, groups and memberships, of which there may be very
many, in batches. A start that is interrupted in between is completed by the next.

Order matters: roles before the users who hold them, services before their tokens,
tokens before role members (a token may create its user), blocked users last.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, models, transaction

from accounts.actions import create_users, update_user
from accounts.group_actions import (
    add_members,
    check_group_names,
    check_properties,
    create_groups,
    set_properties,
)
from accounts.models import Group, Role, User, UserRole
from accounts.naming import MOST_NAMED, check_names, is_named, normalise_name, users_of
from audit.actions import record
from audit.models import Actor
from database.backoff import Backoff
from database.batches import batches, in_batches
from database.failures import is_conflict
from database.locks import Advisory, delete_all, keep, lock_all, patience, wait_for
from hubsite.config.file import ConfigError
from hubsite.config.hub_config import HubConfig
from hubsite.config.services import SERVICE_PREFIX
from oauth.actions import delete_client, revoke_abandoned, update_clients
from scopes.definitions import DEFAULT_ROLES
from scopes.grammar import check_scopes
from scopes.refusals import Refusal
from servers.actions import stop_servers_of
from servers.models import Server
from servers.names import is_server_name
from services.models import Service
from tokens.actions.importing import import_token
from tokens.models import APIToken

BY = Actor.system("config")
NOTE = "from config"

# Seconds of waiting for locks of others: half of the time after which PostgreSQL looks
# for a deadlock.
GIVE_WAY = 0.5
# Tries, and seconds between two of them.
TRIES = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.2


def reconcile(hub: HubConfig) -> list[str]:
    """Reconcile the database with `hub`; return remarks for an operator.

    Raises ConfigError, with nothing changed, if the configuration contradicts
    itself or the database.
    """
    return Reconciliation(hub).run()


class Reconciliation:
    """One run; `remarks` collects what could not be done."""

    def __init__(self, hub: HubConfig) -> None:
        self.hub = hub
        self.remarks: list[str] = []
        # The tokens whose secrets are those of OAuth clients, by names of services.
        self.tokens: dict[str, APIToken] = {}

    def run(self) -> list[str]:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        for _ in range(TRIES):
            # A row may be locked by a request that waits for a lock of this
            # transaction. This one gives up long before the database would end one of
            # them, and starts again.
            try:
                return self.run_once()
            except OperationalError as error:
                if not is_conflict(error):
                    raise
            self.remarks = []
            self.tokens = {}
            time.sleep(backoff.pause)
            backoff.grow()
        raise ConfigError(
            "Others keep the database locked, so that nothing of the configuration was "
            "stored: try again once they are done"
        )

    def run_once(self) -> list[str]:
        self.check()
        with self.alone():
            wait_for(Advisory.USER_NAMES)
            lock_all(Role.objects.all())
            lock_all(Service.objects.filter(from_config=True))
            self.define_roles()
            self.load_services()
            self.store_tokens()
            self.load_clients()
        self.admit_users()
        self.load_groups()
        self.assign_roles()
        self.strip_blocked_users()
        with self.alone():
            self.rename_servers()
        self.remark_on_rights()
        return self.remarks

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Open a transaction that gives up when others hold its locks.

        Replicas that start together have one after the other.
        """
        with transaction.atomic():
            wait_for(Advisory.CONFIGURATION, seconds=0)
            with patience(GIVE_WAY):
                yield

    # Steps that may refuse the configuration

    def check(self) -> None:
        """Refuse what could not be stored after the first transaction."""
        for place, names in self.people():
            wanted = {normalise_name(name) for name in names}
            with _naming(place):
                check_names(sorted(wanted - {*_by_id(User, wanted).values()}))
        known = {*_by_id(Group, self.hub.load_groups.keys()).values()}
        for name, spec in self.hub.load_groups.items():
            with _naming(f"c.JupyterHub.load_groups: group {name!r}"):
                check_group_names([] if name in known else [name])
                check_properties(spec.get("properties") or {})
        kept = Service.objects.filter(from_config=False).values_list("name", flat=True)
        services = {*kept, *self.hub.service_tokens.values()}
        services.update(service["name"] for service in self.hub.services)
        for role in self.hub.load_roles:
            place = f"c.JupyterHub.load_roles: role {role['name']!r}"
            groups = set(role.get("groups") or ())
            with _naming(place):
                check_group_names(sorted(groups - {*_by_id(Group, groups).values()}))
            for name in role.get("services") or ():
                if name not in services:
                    raise ConfigError(
                        f"{place}: there is no service {name!r}; declare it in "
                        "c.JupyterHub.services"
                    )

    def people(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield each place in the configuration with names of users, and the names."""
        yield "c.Authenticator.admin_users", sorted(self.hub.admin_users)
        yield "c.Authenticator.allowed_users", sorted(self.hub.allowed_users)
        for name, spec in self.hub.load_groups.items():
            yield f"c.JupyterHub.load_groups: group {name!r}", spec["users"]
        for role in self.hub.load_roles:
            place = f"c.JupyterHub.load_roles: role {role['name']!r}"
            yield place, list(role.get("users") or ())

    # Roles

    def define_roles(self) -> None:
        """Store the declared roles; delete those that are not declared any more.

        Roles that an authenticator defined are its own.
        """
        declared = {role["name"]: role for role in self.hub.load_roles}
        wanted: dict[str, dict[str, Any]] = {}
        for name, default in DEFAULT_ROLES.items():
            spec = declared.get(name, {})
            scopes = list(spec.get("scopes", default["scopes"]))
            if name == "user" and name not in declared:
                scopes += sorted(self.hub.extra_user_scopes - set(scopes))
            description = spec.get("description", default["description"])
            wanted[name] = {"description": description, "scopes": scopes}
        for name, spec in declared.items():
            if name not in DEFAULT_ROLES:
                wanted[name] = {
                    "description": spec.get("description", ""),
                    "scopes": list(spec.get("scopes", ())),
                }
        for name, fields in wanted.items():
            with _naming(f"c.JupyterHub.load_roles: role {name!r}"):
                check_scopes(fields["scopes"], limited=False)
        existing = {role.name: role for role in Role.objects.all()}
        for name in existing.keys() - wanted.keys():
            if not existing[name].managed_by_auth:
                existing[name].delete()
                record(BY, "role.delete", "role", name)
        for name, fields in wanted.items():
            role = existing.get(name)
            fields["is_declared"] = True
            if role is None:
                Role.objects.create(name=name, **fields)
            elif any(getattr(role, key) != value for key, value in fields.items()):
                Role.objects.filter(pk=role.pk).update(**fields)
            else:
                continue
            record(BY, "role.define", "role", name, scopes=fields["scopes"])

    def assign_roles(self) -> None:
        """Set the members of each role to the configured lists."""
        roles = {role.name: role for role in Role.objects.all()}
        for spec in self.hub.load_roles:
            role = roles[spec["name"]]
            place = f"c.JupyterHub.load_roles: role {role.name!r}"
            users, services = spec.get("users"), spec.get("services")
            if role.name == "admin":
                # Two settings name administrators; neither removes those of the other.
                if users is not None:
                    users = [*users, *sorted(self.hub.admin_users)]
                    self._hold_exactly(role, "users", self._users(users, place))
                    self._follow_role(role)
                if services is not None:
                    self._hold_exactly(role, "services", _by_id(Service, services))
            else:
                if users is not None or role.name != "user":
                    self._hold_exactly(role, "users", self._users(users or (), place))
                self._hold_exactly(role, "services", _by_id(Service, services or ()))
            self._hold_exactly(role, "groups", _groups(spec.get("groups", ())))

    def _hold_exactly(self, role: Role, kind: str, wanted: dict[int, str]) -> None:
        """Give a role to exactly these rows of their kind."""
        held = dict(getattr(role, kind).values_list("pk", "name"))
        self._give(role, kind, {pk: wanted[pk] for pk in wanted.keys() - held.keys()})
        self._take(role, kind, {pk: held[pk] for pk in held.keys() - wanted.keys()})

    def _give(self, role: Role, kind: str, who: dict[int, str]) -> None:
        relation = getattr(role, kind)

        def give(ids: list[int]) -> None:
            keep(Role, role.pk)
            lock_all(relation.model.objects.filter(pk__in=ids))
            # Users who were deleted meanwhile are skipped.
            present = relation.model.objects.filter(pk__in=ids)
            relation.add(*present.values_list("pk", flat=True))
            names = sorted(who[pk] for pk in ids)
            record(BY, "role.assign", "role", role.name, **{kind: names})

        in_batches(sorted(who), give)

    def _take(self, role: Role, kind: str, who: dict[int, str]) -> None:
        relation = getattr(role, kind)

        def take(ids: list[int]) -> None:
            lock_all(relation.model.objects.filter(pk__in=ids))
            held = relation.through._default_manager.filter(role=role.pk)
            delete_all(held.filter(**{f"{kind.removesuffix('s')}__in": ids}))
            names = sorted(who[pk] for pk in ids)
            record(BY, "role.withdraw", "role", role.name, **{kind: names})

        in_batches(sorted(who), take)

    @transaction.atomic
    def _follow_role(self, admin: Role) -> None:
        """Set the admin flag of users to whether they have the role."""
        holders = admin.users.values("pk")
        gain = User.objects.filter(admin=False, pk__in=holders)
        lose = User.objects.filter(admin=True).exclude(pk__in=holders)
        lock_all(gain | lose)
        gain.update(admin=True)
        lose.update(admin=False)

    # Users and groups

    def admit_users(self) -> None:
        """Create the administrators and the users who are listed by name."""
        place = "c.Authenticator.admin_users"
        admins = self._users(sorted(self.hub.admin_users), place, admin=True)
        for user in users_of(admins).filter(admin=False).order_by("pk"):
            update_user(user, admin=True, by=BY)
        listed = sorted(self.hub.allowed_users - self.hub.admin_users)
        allowed = self._users(listed, "c.Authenticator.allowed_users")
        role = Role.objects.get(name="user")
        without = users_of(allowed).exclude(roles=role)
        self._give(role, "users", dict(without.values_list("pk", "name")))

    def load_groups(self) -> None:
        """Add declared groups and members; existing ones are kept."""
        for name, spec in self.hub.load_groups.items():
            place = f"c.JupyterHub.load_groups: group {name!r}"
            members = self._users(spec["users"], place)
            with _naming(place):
                group = Group.objects.filter(name=name).first()
                if group is None:
                    group = create_groups([name], by=BY)[0]
                present = set(group.users.values_list("pk", flat=True))
                absent = [who for pk, who in members.items() if pk not in present]
                for names in batches(absent, MOST_NAMED):
                    add_members(group, names, by=BY)
                properties = spec.get("properties")
                if properties is not None and properties != group.properties:
                    set_properties(group, properties, by=BY)

    def strip_blocked_users(self) -> None:
        """Take admin, roles, groups and servers from blocked users."""
        names = {normalise_name(name) for name in self.hub.blocked_users}
        chosen = _by_id(User, sorted(names))
        in_batches(sorted(chosen), self._strip, within=self.alone)

    def _strip(self, ids: list[int]) -> None:
        # Their running servers are stopped, and the capacity is locked first.
        wait_for(Advisory.CAPACITIES)
        blocked = User.objects.filter(pk__in=ids)
        lock_all(blocked)
        stop_servers_of(blocked, BY)
        roles_of = UserRole.objects
        lock_all(roles_of.filter(user__in=ids), for_deletion=True)
        for user in blocked.filter(admin=True).order_by("pk"):
            update_user(user, admin=False, by=BY)
        roles = _held_names(User.roles.through, "role", ids)
        groups = _held_names(User.groups.through, "group", ids)
        for held in (User.roles.through, User.groups.through):
            delete_all(held._default_manager.filter(user__in=ids))
        for user in blocked.filter(pk__in=roles.keys() | groups.keys()):
            record(
                BY,
                "user.block",
                "user",
                user.name,
                roles=roles.get(user.pk, []),
                groups=groups.get(user.pk, []),
            )

    def rename_servers(self) -> None:
        """Give valid names to named servers of older hubs, if that is configured."""
        if self.hub.allow_existing_invalid_named_servers != "autorename":
            return
        # From a library of JupyterHub, imported only if necessary.
        from jupyterhub.slugs import safe_slug

        named = Server.objects.exclude(name="").select_related("user").order_by("pk")
        for server in [each for each in named if not is_server_name(each.name)]:
            place = f"{server.user.name}/{server.name}"
            if server.is_active:
                self.remarks.append(
                    f"c.JupyterHub.allow_existing_invalid_named_servers: {place} runs "
                    "and keeps its name until the next start"
                )
                continue
            others = Server.objects.filter(user=server.user)
            name = safe_slug(server.name, avoid_collisions=False)
            if others.filter(name=name).exists():
                name = safe_slug(server.name, avoid_collisions=True)
            server.display_name = server.display_name or server.name
            server.name = name
            server.save(update_fields=["name", "display_name"])
            record(BY, "server.edit", "server", place, changed=["name"], name=name)

    def _users(
        self, names: Iterable[str], place: str, *, admin: bool = False
    ) -> dict[int, str]:
        """Return these users by id, and create missing ones."""
        wanted = list(dict.fromkeys(normalise_name(name) for name in names))
        found = _by_id(User, wanted)
        missing = set(wanted) - set(found.values())
        if missing:
            in_order = [name for name in wanted if name in missing]
            with _naming(place):
                check_names(in_order)
                for some in batches(in_order, MOST_NAMED):
                    created = create_users(some, admin=admin, by=BY)
                    found |= {pk: name for name, pk in created.items()}
        return found

    # Services and tokens

    def load_services(self) -> None:
        """Store declared services; delete those that are not declared any more."""
        wanted = {service["name"]: service for service in self.hub.services}
        for name in self.hub.service_tokens.values():
            wanted.setdefault(name, {"name": name})
        existing = {service.name: service for service in Service.objects.all()}
        for name, old in existing.items():
            if old.from_config and name not in wanted:
                record(BY, "service.delete", "service", name)
                delete_client(old, BY)
                old.delete()
        for name, spec in wanted.items():
            service = existing.get(name)
            if service is None:
                self._create_service(name, spec)
            elif service.from_config:
                _update_service(service, spec)
            else:
                self.remarks.append(
                    f"c.JupyterHub.services: {name!r} was added while the hub ran and "
                    "stays as it is; delete that service to have the declared one"
                )

    def _create_service(self, name: str, spec: dict[str, Any]) -> None:
        service = Service.objects.create(name=name, **_service_fields(spec))
        if service.admin:
            service.roles.add(Role.objects.get(name="admin"))
        record(BY, "service.create", "service", name, admin=service.admin)

    def store_tokens(self) -> None:
        """Store new tokens; one that was revoked stays revoked."""
        services = {service.name: service for service in Service.objects.all()}
        own = {spec["name"]: spec.get("api_token") for spec in self.hub.services}
        for secret, name in self.hub.service_tokens.items():
            with _naming(f"c.JupyterHub.services: {name!r}"):
                token = import_token(services[name], secret, note=NOTE, by=BY)
            # A service's own entry counts before that of `service_tokens`.
            if own.get(name) in (None, "", secret):
                self.tokens[name] = token
        place = "c.JupyterHub.api_tokens"
        names = [normalise_name(name) for name in self.hub.api_tokens.values()]
        known = _by_id(User, names).keys()
        owners = self._users(names, place)
        # The configuration gives a token only its owner. The owner's rights come from
        # roles, or from the first sign-in.
        named = {*self.hub.admin_users, *self.hub.allowed_users}
        named.update(*(spec["users"] for spec in self.hub.load_groups.values()))
        listed = {normalise_name(name) for name in named}
        brought = [
            pk for pk, name in owners.items() if pk not in known and name not in listed
        ]
        Role.objects.get(name="user").users.remove(*brought)
        users = {user.name: user for user in users_of(owners)}
        for secret, name in self.hub.api_tokens.items():
            owner = users[normalise_name(name)]
            with _naming(f"{place}: {name!r}"):
                import_token(owner, secret, note=NOTE, by=BY)

    def load_clients(self) -> None:
        """Update OAuth clients to their services; delete those without a service."""
        declared = Service.objects.filter(from_config=True)
        with _naming("c.JupyterHub.services"):
            update_clients(declared, self.tokens, by=BY)
        revoke_abandoned(by=BY)

    def remark_on_rights(self) -> None:
        """Add remarks on owners of declared tokens without any rights."""
        names = {normalise_name(name) for name in self.hub.api_tokens.values()}
        powerless = User.objects.filter(
            is_named(names - self.hub.blocked_users), roles=None
        ).exclude(groups__roles__isnull=False)
        self.remarks += [
            f"{name} (c.JupyterHub.api_tokens) holds no role yet: the token tells "
            f"who it is and nothing more; add {name} to allowed_users or to a role "
            "in load_roles"
            for name in sorted(powerless.values_list("name", flat=True))
        ]


def _service_fields(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a service's columns: those of its entry, all others unset."""
    fields: dict[str, Any] = {
        field.name: spec.get(field.name)
        for field in Service._meta.concrete_fields
        if field.null
    }
    is_client = "url" in spec or "oauth_redirect_uri" in spec
    if is_client and not fields["oauth_client_id"]:
        fields["oauth_client_id"] = f"{SERVICE_PREFIX}{spec['name']}"
    return fields | {
        "admin": spec.get("admin", False),
        "timeout": spec.get("timeout", 30),
        "oauth_no_confirm": spec.get("oauth_no_confirm", False),
        "from_config": True,
    }


def _update_service(service: Service, spec: dict[str, Any]) -> None:
    fields = _service_fields(spec)
    if any(getattr(service, key) != value for key, value in fields.items()):
        Service.objects.filter(pk=service.pk).update(**fields)


def _groups(names: Sequence[str]) -> dict[int, str]:
    found = _by_id(Group, names)
    missing = [name for name in names if name not in found.values()]
    if missing:
        found |= {group.pk: group.name for group in create_groups(missing, by=BY)}
    return found


def _by_id(model: type[models.Model], names: Iterable[str]) -> dict[int, str]:
    """Return the rows with these names."""
    rows = model._default_manager.filter(is_named(names))
    return dict(rows.values_list("pk", "name"))


def _held_names(held: Any, kind: str, users: list[int]) -> dict[int, list[str]]:
    """Return the names of the roles or groups of each of these users."""
    rows = held.objects.filter(user__in=users).order_by(f"{kind}__name")
    names: dict[int, list[str]] = {}
    for user, name in rows.values_list("user", f"{kind}__name"):
        names.setdefault(user, []).append(name)
    return names


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Convert a refusal within the block to a ConfigError that names its place."""
    try:
        yield
    except Refusal as refusal:
        raise ConfigError(f"{place}: {refusal.for_people}") from None
