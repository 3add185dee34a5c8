"""Creating, editing and removing servers that are stopped."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.models import User
from audit.actions import record
from audit.models import Actor
from scopes.refusals import Conflict, Invalid, NotFound
from servers.models import Server

SERVER_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?")
DISPLAY_NAME_LENGTH = 255

# Letters, marks, numbers, punctuation and symbols print; controls, separators other
# than the plain blank, and unassigned code points don't.
PRINTABLE = frozenset("LMNPS")


class Unset(Enum):
    """The value of an option that was not given, where null means something."""

    UNSET = 0


UNSET = Unset.UNSET


def check_server_name(name: str) -> None:
    """Refuse a name that no new named server may have."""
    if "--" in name or not SERVER_NAME.fullmatch(name):
        raise Invalid(
            f"Invalid server_name: {name!r}. Use 1 to 30 of the characters a-z, 0-9 "
            "and single dashes; begin with a letter, end with a letter or digit."
        )


def check_display_name(text: str) -> None:
    """Refuse what would not show as one line of text."""
    name = unicodedata.normalize("NFC", text)
    printable = all(
        char == " " or unicodedata.category(char)[0] in PRINTABLE for char in name
    )
    blanks = name != name.strip() or "  " in name
    if not name or len(name) > DISPLAY_NAME_LENGTH or not printable or blanks:
        raise Invalid(
            f"Invalid display_name: {text!r}. Use 1 to 255 printable characters with "
            "single blanks between them."
        )


@transaction.atomic
def create_server(
    user: User,
    name: str,
    *,
    display_name: str | None = None,
    user_options: dict[str, Any] | None = None,
    by: Actor,
) -> Server:
    """Give a user one more named server, stopped."""
    if not name:
        raise Conflict(f"User {user.name} already has a default server")
    _require_named_servers()
    _lock(user)
    if Server.objects.filter(user=user, name=name).exists():
        raise Conflict(f"User {user.name} already has server {name}")
    check_server_name(name)
    if display_name:
        check_display_name(display_name)
    _require_room(user)
    try:
        with transaction.atomic():
            server = Server.objects.create(
                user=user,
                name=name,
                display_name=display_name or name,
                user_options=user_options or {},
            )
    except IntegrityError:
        raise Conflict(f"User {user.name} already has server {name}") from None
    record(by, "server.create", "server", f"{user.name}/{name}")
    return server


@transaction.atomic
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
        _require_named_servers()
    _lock(user)
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
            _require_room(user)
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
    """Remove a stopped named server, its shares and share codes."""
    if not name:
        raise Invalid("Cannot delete the default server")
    _lock(user)
    server = Server.objects.filter(user=user, name=name).first()
    if server is None:
        raise NotFound(f"{user.name} has no server named '{name}'")
    if server.is_active:
        raise Invalid(f"{user.name}:{name} is active. Please stop it first.")
    server.delete()
    record(by, "server.delete", "server", f"{user.name}/{name}")


def why_user_is_busy(user: User) -> str | None:
    """Say what keeps a user from being renamed or deleted."""
    active = Server.objects.filter(Q(ready=True) | Q(pending__isnull=False), user=user)
    if active.exists():
        return f"{user.name}'s server is active. Please stop it first."
    return None


def _find(user: User, name: str) -> Server:
    server = Server.objects.filter(user=user, name=name).first()
    if server is not None:
        return server
    if name:
        check_server_name(name)
        raise NotFound(f"User {user.name} has no such server '{name}'")
    # Everyone has a default server; the row appears with the first change to it.
    return Server(user=user, user_options={})


def _require_named_servers() -> None:
    if not settings.HUB.allow_named_servers:
        raise Invalid("Named servers are not enabled.")


def _require_room(user: User) -> None:
    limit = settings.HUB.named_server_limit_per_user
    if limit and Server.objects.filter(user=user).exclude(name="").count() >= limit:
        raise Invalid(
            f"User {user.name} already has the maximum of {limit} named servers.  "
            "One must be deleted before a new server can be created"
        )


def _lock(user: User) -> None:
    """Let nobody else count or name this user's servers meanwhile."""
    User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
