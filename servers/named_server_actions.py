"""Actions on the rows of servers: create, edit and delete."""

from __future__ import annotations

from enum import Enum
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import User
from audit.actions import record
from audit.models import Actor
from database.locks import delete_all, locked
from scopes.refusals import Conflict, Invalid, NotFound
from servers.deletion import release
from servers.limits import limit_of_names, require_room_for_name
from servers.models import Server
from servers.names import check_display_name, check_server_name, check_user_options


class Unset(Enum):
    """The value of an option that was not given, because null has a meaning."""

    UNSET = 0


UNSET = Unset.UNSET


def create_server(
    user: User,
    name: str,
    *,
    display_name: str | None = None,
    user_options: dict[str, Any] | None = None,
    by: Actor,
) -> Server:
    """Create one more named server of a user, stopped."""
    refuse_known(user, name)
    require_named_servers()
    check_server_name(name)
    if display_name:
        check_display_name(display_name)
    check_user_options(user_options)
    limit = limit_of_names(by)
    with transaction.atomic():
        lock_owner(user)
        if Server.objects.filter(user=user, name=name).exists():
            raise _has_server(user, name)
        require_room_for_name(user, limit)
        server = Server.objects.create(
            user=user,
            name=name,
            display_name=display_name or name,
            user_options=user_options,
        )
        record(by, "server.create", "server", f"{user.name}/{name}")
    return server


def refuse_known(user: User, name: str) -> None:
    """Raise `Conflict` if the user has a server of this name, without a lock."""
    if not name:
        raise Conflict(f"User {user.name} already has a default server")
    if Server.objects.filter(user=user, name=name).exists():
        raise _has_server(user, name)


def _has_server(user: User, name: str) -> Conflict:
    return Conflict(f"User {user.name} already has server {name}")


def edit_server(
    user: User,
    name: str,
    *,
    new_name: str | None = None,
    display_name: str | None = None,
    user_options: dict[str, Any] | Unset | None = UNSET,
    by: Actor,
) -> Server:
    """Rename a stopped server or change what it will be started with.

    Its shares stay with it; they follow the server and not its name.
    """
    if new_name is not None or display_name is not None:
        require_named_servers()
    if user_options is not UNSET:
        check_user_options(user_options)
    becomes_named = new_name is not None and not name
    limit = limit_of_names(by) if becomes_named else 0
    with transaction.atomic():
        return _edit_server(user, name, new_name, display_name, user_options, limit, by)


def _edit_server(
    user: User,
    name: str,
    new_name: str | None,
    display_name: str | None,
    user_options: dict[str, Any] | Unset | None,
    limit: int,
    by: Actor,
) -> Server:
    lock_owner(user)
    server = _find(user, name)
    if server.is_active:
        raise Invalid(
            f"{user.name}:{name} is active. Please stop it before modifying it."
        )
    changed = []
    if new_name is not None:
        if (
            new_name in ("", name)
            or Server.objects.filter(user=user, name=new_name).exists()
        ):
            raise Conflict(f"User {user.name} already has server {new_name!r}")
        check_server_name(new_name)
        if not name:
            require_room_for_name(user, limit)
        server.name = new_name
        changed.append("name")
    if display_name is not None:
        check_display_name(display_name)
        server.display_name = display_name
        changed.append("display_name")
    if user_options is not UNSET:
        server.user_options = user_options
        changed.append("user_options")
    if server.pk is None:
        server.save()
    elif changed:
        server.save(update_fields=changed)
    record(
        by,
        "server.edit",
        "server",
        f"{user.name}/{name}",
        changed=changed,
        name=server.name,
    )
    return server


@transaction.atomic
def delete_server(user: User, name: str, *, by: Actor) -> None:
    """Delete a stopped named server, its shares and share codes."""
    if not name:
        raise Invalid("Cannot delete the default server")
    lock_owner(user)
    rows = Server.objects.filter(user=user, name=name)
    server = locked(rows, for_deletion=True).first()
    if server is None:
        raise NotFound(f"{user.name} has no server named '{name}'")
    server.user = user
    if server.is_active:
        raise Invalid(f"{user.name}:{name} is active. Please stop it first.")
    release(server, by=by)
    delete_all(rows)
    record(by, "server.delete", "server", f"{user.name}/{name}")


def _find(user: User, name: str) -> Server:
    server = Server.objects.filter(user=user, name=name).first()
    if server is not None:
        return server
    if name:
        raise NotFound(f"User {user.name} has no such server {name!r}")
    # Every user has a default server, whose row is created by the first change to it.
    return Server(user=user)


def require_named_servers() -> None:
    if not settings.HUB.allow_named_servers:
        raise Invalid("Named servers are not enabled.")


def lock_owner(user: User) -> User:
    """Lock a user, so that no other transaction counts, names or starts the servers."""
    current = locked(User.objects.filter(pk=user.pk)).first()
    if current is None:
        raise NotFound(f"No such user: {user.name}")
    return current
