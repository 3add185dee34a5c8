"""Making the database agree with the configuration, at every start.

Whatever the configuration declares is looked up by name; nothing is read for each
user that exists, so a start costs the same with ten users and with a hundred
thousand. Running it again changes nothing and records nothing. All of it is one
transaction: a configuration that is refused leaves everything as it was.

Order matters: roles before the users who hold them, services before their tokens,
tokens before role members (a token may bring its user), blocked users last.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, models, transaction
from django.db.models import Q

from accounts.actions import (
    add_members,
    check_name,
    create_groups,
    create_users,
    is_named,
    normalise_name,
    set_properties,
    update_user,
)
from accounts.models import Group, Role, User
from audit.actions import record
from audit.models import Actor
from database.failures import is_conflict
from database.locks import Advisory, lock_all, patience, wait_for
from hubsite.config.configuration import (
    SERVICE_PREFIX,
    ConfigError,
    HubConfig,
)
from oauth.actions import follow_services, leave_service, revoke_abandoned
from scopes.definitions import DEFAULT_ROLES
from scopes.grammar import check_scopes
from scopes.refusals import Refusal
from servers.actions import stop_servers_of
from servers.models import Server
from servers.names import is_server_name
from services.models import Service
from tokens.actions import store_brought_token

BY = Actor.system("config")
NOTE = "from config"

# Seconds for which it waits for what others have locked: half of what PostgreSQL waits
# before it looks for a deadlock.
GIVE_WAY = 0.5
# Seconds before it tries again.
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2, 3.2, 3.2)

# Rows that one statement asks for by name; SQLite limits how many it takes.
BATCH = 500

# Names that one record of an act spells out.
NAMES_TOLD = 1000


def reconcile(hub: HubConfig) -> list[str]:
    """Bring the database in line with `hub`; return what an operator should know.

    Raises ConfigError, with nothing changed, if the configuration contradicts
    itself or the database.
    """
    return Reconciliation(hub).run()


class Reconciliation:
    """One run; `remarks` collects what it could not do."""

    def __init__(self, hub: HubConfig) -> None:
        self.hub = hub
        self.remarks: list[str] = []

    def run(self) -> list[str]:
        for pause in PAUSES:
            # What it finds locked may be held by a request that waits for what it has
            # locked itself: it gives way long before the database would end one of
            # them, and begins anew.
            try:
                return self.run_once()
            except OperationalError as error:
                if not is_conflict(error):
                    raise
            self.remarks = []
            time.sleep(pause)
        raise ConfigError(
            "Others keep the database locked, so that nothing of the configuration was "
            "stored: try again once they are done"
        )

    def run_once(self) -> list[str]:
        with transaction.atomic():
            # Replicas that start together reconcile one after the other.
            wait_for(Advisory.CONFIGURATION, seconds=0)
            with patience(GIVE_WAY):
                self.lock()
                self.bring_in_line()
        return self.remarks

    def lock(self) -> None:
        """Lock what is going to be changed, in the order of locking."""
        if self.hub.blocked_users:
            # Their servers are stopped at the end.
            wait_for(Advisory.CAPACITIES)
        wait_for(Advisory.USER_NAMES)
        wait_for(Advisory.GROUP_NAMES)
        lock_all(Role.objects.all())
        lock_all(Group.objects.filter(is_named(self.hub.load_groups)))
        lock_all(
            User.objects.filter(
                Q(is_named(map(normalise_name, self.hub.admin_users)), admin=False)
                | is_named(map(normalise_name, self.hub.blocked_users))
            )
        )
        lock_all(Service.objects.filter(from_config=True))

    def bring_in_line(self) -> None:
        self.define_roles()
        self.admit_users()
        self.load_groups()
        self.load_services()
        self.store_tokens()
        self.load_clients()
        self.assign_roles()
        self.strip_blocked_users()
        self.rename_servers()
        self.tell_who_holds_nothing()

    # Roles

    def define_roles(self) -> None:
        """Store what roles mean; delete those that nobody declares any more."""
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
            existing[name].delete()
            record(BY, "role.delete", "role", name)
        for name, fields in wanted.items():
            role = existing.get(name)
            if role is None:
                Role.objects.create(name=name, **fields)
            elif any(getattr(role, key) != value for key, value in fields.items()):
                Role.objects.filter(pk=role.pk).update(**fields)
            else:
                continue
            record(BY, "role.define", "role", name, scopes=fields["scopes"])

    def assign_roles(self) -> None:
        """Make membership what each role's lists say."""
        roles = {role.name: role for role in Role.objects.all()}
        for spec in self.hub.load_roles:
            role = roles[spec["name"]]
            place = f"c.JupyterHub.load_roles: role {role.name!r}"
            users, services = spec.get("users"), spec.get("services")
            if role.name == "admin":
                # Both places say who administers; neither takes away from the other.
                if users is not None:
                    users = [*users, *sorted(self.hub.admin_users)]
                    self._hold_exactly(role, "users", self._users(users, place))
                    self._follow_role(role)
                if services is not None:
                    self._hold_exactly(role, "services", _services(services, place))
            else:
                if users is not None or role.name != "user":
                    self._hold_exactly(role, "users", self._users(users or (), place))
                self._hold_exactly(role, "services", _services(services or (), place))
            self._hold_exactly(role, "groups", _groups(spec.get("groups", ())))

    def _hold_exactly(self, role: Role, kind: str, wanted: dict[int, str]) -> None:
        """Give a role to these and to no others of their kind."""
        relation = getattr(role, kind)
        held = dict(relation.values_list("pk", "name"))
        added = wanted.keys() - held.keys()
        removed = held.keys() - wanted.keys()
        if added:
            relation.add(*added)
            names = sorted(wanted[pk] for pk in added)
            _record_members("role.assign", role.name, kind, names)
        if removed:
            if len(removed) == len(held):
                relation.clear()
            else:
                relation.remove(*removed)
            names = sorted(held[pk] for pk in removed)
            _record_members("role.withdraw", role.name, kind, names)

    def _follow_role(self, admin: Role) -> None:
        """Have the admin flag say who holds the role."""
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
        for user in User.objects.filter(pk__in=admins, admin=False).order_by("pk"):
            update_user(user, admin=True, by=BY)
        listed = sorted(self.hub.allowed_users - self.hub.admin_users)
        allowed = self._users(listed, "c.Authenticator.allowed_users")
        role = Role.objects.get(name="user")
        for batch in _batches(list(allowed)):
            without = User.objects.filter(pk__in=batch).exclude(roles=role)
            if pks := list(without.values_list("pk", flat=True)):
                role.users.add(*pks)
                names = sorted(allowed[pk] for pk in pks)
                _record_members("role.assign", role.name, "users", names)

    def load_groups(self) -> None:
        """Add declared groups and members; what is there already stays."""
        for name, spec in self.hub.load_groups.items():
            place = f"c.JupyterHub.load_groups: group {name!r}"
            members = self._users(spec["users"], place)
            with _naming(place):
                group = Group.objects.filter(name=name).first()
                if group is None:
                    group = create_groups([name], by=BY)[0]
                present = set(group.users.values_list("pk", flat=True))
                absent = [who for pk, who in members.items() if pk not in present]
                if absent:
                    add_members(group, absent, by=BY)
                properties = spec.get("properties")
                if properties is not None and properties != group.properties:
                    set_properties(group, properties, by=BY)

    def strip_blocked_users(self) -> None:
        """Take admin, roles, groups and servers from who may not enter any more."""
        names = {normalise_name(name) for name in self.hub.blocked_users}
        for batch in _batches(sorted(names)):
            blocked = User.objects.filter(name__in=batch)
            stop_servers_of(blocked, BY)
            for user in blocked:
                if user.admin:
                    update_user(user, admin=False, by=BY)
                roles = list(user.roles.values_list("name", flat=True))
                groups = list(user.groups.values_list("name", flat=True))
                if roles or groups:
                    user.roles.clear()
                    user.groups.clear()
                    record(
                        BY, "user.block", "user", user.name, roles=roles, groups=groups
                    )

    def rename_servers(self) -> None:
        """Give valid names to named servers of older hubs, if that is wanted."""
        if self.hub.allow_existing_invalid_named_servers != "autorename":
            return
        # It belongs to JupyterHub, which only hubs load that need it.
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
        """Return these users, those who were missing newly created, by id."""
        wanted = list(dict.fromkeys(normalise_name(name) for name in names))
        found = _by_id(User, wanted)
        missing = set(wanted) - set(found.values())
        if missing:
            in_order = [name for name in wanted if name in missing]
            with _naming(place):
                for name in in_order:
                    check_name(name)
                created = create_users(in_order, admin=admin, by=BY)
            found |= {pk: name for name, pk in created.items()}
        return found

    # Services and tokens

    def load_services(self) -> None:
        """Store declared services; delete those that were declared once."""
        wanted = {service["name"]: service for service in self.hub.services}
        for name in self.hub.service_tokens.values():
            wanted.setdefault(name, {"name": name})
        existing = {service.name: service for service in Service.objects.all()}
        for name, old in existing.items():
            if old.from_config and name not in wanted:
                record(BY, "service.delete", "service", name)
                leave_service(old, BY)
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
        """Store tokens that are new; one that was revoked stays revoked."""
        services = {service.name: service for service in Service.objects.all()}
        for secret, name in self.hub.service_tokens.items():
            with _naming(f"c.JupyterHub.services: {name!r}"):
                store_brought_token(services[name], secret, note=NOTE, by=BY)
        place = "c.JupyterHub.api_tokens"
        names = [normalise_name(name) for name in self.hub.api_tokens.values()]
        known = _by_id(User, names).keys()
        owners = self._users(names, place)
        # A token says whose it is. What they may do is said elsewhere, or once they
        # sign in.
        Role.objects.get(name="user").users.remove(*(owners.keys() - known))
        users = {user.name: user for user in User.objects.filter(pk__in=owners)}
        for secret, name in self.hub.api_tokens.items():
            owner = users[normalise_name(name)]
            with _naming(f"{place}: {name!r}"):
                store_brought_token(owner, secret, note=NOTE, by=BY)

    def load_clients(self) -> None:
        """Have OAuth clients be what their services say; end what no service owns."""
        secrets = {name: secret for secret, name in self.hub.service_tokens.items()}
        for spec in self.hub.services:
            if spec.get("api_token"):
                secrets[spec["name"]] = spec["api_token"]
        with _naming("c.JupyterHub.services"):
            follow_services(Service.objects.filter(from_config=True), secrets, by=BY)
        revoke_abandoned(by=BY)

    def tell_who_holds_nothing(self) -> None:
        """Remark on owners of declared tokens who may do nothing with them."""
        names = {normalise_name(name) for name in self.hub.api_tokens.values()}
        for batch in _batches(sorted(names - self.hub.blocked_users)):
            powerless = User.objects.filter(name__in=batch, roles=None).exclude(
                groups__roles__isnull=False
            )
            self.remarks += [
                f"{name} (c.JupyterHub.api_tokens) holds no role yet: the token tells "
                f"who it is and nothing more; add {name} to allowed_users or to a role "
                "in load_roles"
                for name in sorted(powerless.values_list("name", flat=True))
            ]


def _service_fields(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a service's row: what its entry says, everything else unset."""
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


def _services(names: Sequence[str], place: str) -> dict[int, str]:
    found = _by_id(Service, names)
    for name in names:
        if name not in found.values():
            raise ConfigError(
                f"{place}: there is no service {name!r}; declare it in "
                "c.JupyterHub.services"
            )
    return found


def _groups(names: Sequence[str]) -> dict[int, str]:
    found = _by_id(Group, names)
    missing = [name for name in names if name not in found.values()]
    if missing:
        found |= {group.pk: group.name for group in create_groups(missing, by=BY)}
    return found


def _by_id(model: type[models.Model], names: Sequence[str]) -> dict[int, str]:
    """Return the rows that have one of these names."""
    found: dict[int, str] = {}
    for batch in _batches(names):
        rows = model._default_manager.filter(name__in=batch)
        found |= dict(rows.values_list("pk", "name"))
    return found


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _record_members(action: str, role: str, kind: str, names: list[str]) -> None:
    told = names[:NAMES_TOLD]
    record(BY, action, "role", role, **{kind: told, "count": len(names)})


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Turn a refusal within the block into a ConfigError that names its place."""
    try:
        yield
    except Refusal as refusal:
        raise ConfigError(f"{place}: {refusal.for_people}") from None
