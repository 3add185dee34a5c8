"""Rows for tests: functions with keyword defaults, written straight to the database.

They call no actions, so that a test of one action does not depend on another. Only
tokens are issued by their action, because only that makes a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from accounts.models import Group, Role, User
from audit.models import Actor
from oauth.models import OAuthClient
from scopes.definitions import DEFAULT_ROLES
from servers.models import Server, Share
from services.models import Service
from tokens.actions.importing import import_token
from tokens.actions.issuing import issue_token
from tokens.models import APIToken

BY = Actor.system("tests")
PASSWORD = "correct horse battery staple"

_numbers = count(1)


def make_role(
    name: str | None = None,
    *scopes: str,
    users: Iterable[User] = (),
    groups: Iterable[Group] = (),
    services: Iterable[Service] = (),
) -> Role:
    """Give a role to users, groups and services; default roles have their scopes."""
    name = name or f"role-{next(_numbers)}"
    default = DEFAULT_ROLES.get(name, {})
    role, created = Role.objects.get_or_create(
        name=name,
        defaults={
            "description": default.get("description", ""),
            "scopes": list(scopes or default.get("scopes", ())),
        },
    )
    if not created and scopes and set(scopes) != set(role.scopes):
        role.scopes = list(scopes)
        role.save(update_fields=["scopes"])
    role.users.add(*users)
    role.groups.add(*groups)
    role.services.add(*services)
    return role


def make_default_roles() -> None:
    """Create the default roles of every hub."""
    Role.objects.bulk_create(
        (
            Role(name=name, description=role["description"], scopes=role["scopes"])
            for name, role in DEFAULT_ROLES.items()
        ),
        ignore_conflicts=True,
    )


def make_user(
    name: str | None = None,
    *,
    admin: bool = False,
    scopes: Iterable[str] = (),
    groups: Iterable[Group] = (),
    roles: Iterable[str] | None = None,
    password: str | None = None,
    **fields: Any,
) -> User:
    """Make a user with the roles that users have, or with exactly `roles`.

    `scopes` are added through a role of this user's own.
    """
    name = name or f"user-{next(_numbers)}"
    user = User(name=name, admin=admin, **fields)
    if password is None:
        user.set_unusable_password()
    else:
        user.set_password(password)
    user.save()
    if roles is None:
        roles = ["user", "admin"] if admin else ["user"]
    for role in roles:
        make_role(role, users=[user])
    if scopes:
        make_role(f"of-{user.pk}", *scopes, users=[user])
    user.groups.add(*groups)
    return user


def make_users(number: int, prefix: str = "student", **fields: Any) -> list[User]:
    """Make many plain users in a few queries."""
    role = make_role("user")
    users = User.objects.bulk_create(
        User(name=f"{prefix}{index:05}", password="!", **fields)
        for index in range(number)
    )
    role.users.add(*users)
    return users


def make_group(
    name: str | None = None,
    *,
    users: Iterable[User] = (),
    scopes: Iterable[str] = (),
    **fields: Any,
) -> Group:
    """Make a group with members, who get `scopes` through a role of the group."""
    group = Group.objects.create(name=name or f"group-{next(_numbers)}", **fields)
    group.users.add(*users)
    if scopes:
        make_role(f"of-group-{group.pk}", *scopes, groups=[group])
    return group


def make_service(
    name: str | None = None,
    *,
    admin: bool = False,
    scopes: Iterable[str] = (),
    **fields: Any,
) -> Service:
    """Make a service, which has no scopes by default."""
    service = Service.objects.create(
        name=name or f"service-{next(_numbers)}", admin=admin, **fields
    )
    if admin:
        make_role("admin", services=[service])
    if scopes:
        make_role(f"of-service-{service.pk}", *scopes, services=[service])
    return service


def make_token(
    owner: User | Service | None = None,
    *,
    scopes: Iterable[str] | None = None,
    note: str = "",
    **options: Any,
) -> tuple[APIToken, str]:
    """Issue a token and return it with its secret; `options` are `issue_token`'s."""
    return issue_token(
        owner or make_user(),
        by=BY,
        scopes=None if scopes is None else list(scopes),
        note=note,
        **options,
    )


def make_client(
    name: str = "portal",
    secret: str = "",
    service: Service | None = None,
    **fields: Any,
) -> OAuthClient:
    """Make the OAuth client of a service, and the service if there is none."""
    if service is None and "server" not in fields:
        service = make_service(name)
    fields = {
        "identifier": f"service-{name}",
        "redirect_uri": f"https://{name}.example/callback",
        **fields,
    }
    if secret:
        owner = service or User.objects.get(name=fields["server"].partition("/")[0])
        fields["secret"] = import_token(owner, secret, by=BY)
    return OAuthClient.objects.create(service=service, **fields)


def make_server(user: User | None = None, name: str = "", **fields: Any) -> Server:
    """Make a server, stopped unless `fields` set another state."""
    return Server.objects.create(user=user or make_user(), name=name, **fields)


def make_share(
    server: Server,
    *,
    user: User | None = None,
    group: Group | None = None,
    scopes: Iterable[str] = ("access:servers",),
) -> Share:
    """Share a server with a user or a group; scopes are bare names."""
    return Share.objects.create(
        server=server, user=user, group=group, scopes=list(scopes)
    )
