"""Creating, editing and removing servers that are stopped, and sharing servers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Group, User
from audit.actions import record
from audit.models import Actor
from scopes.access import Access, Identity, expand
from scopes.grammar import RawScope, check_scopes
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from servers.models import Server, Share, ShareCode
from tokens import digests, format, keys
from tokens.models import APIToken

SERVER_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?")
DISPLAY_NAME_LENGTH = 255

# Letters, marks, numbers, punctuation and symbols print; controls, separators other
# than the plain blank, and unassigned code points don't.
PRINTABLE = frozenset("LMNPS")

CODE_PREFIX = "jhsc"
CODE_LIFETIME = 24 * 3600
CODE_LIFETIMES = range(60, 365 * 24 * 3600 + 1)
DEFAULT_SHARE_SCOPES = ("access:servers",)


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


@transaction.atomic
def grant_share(
    server: Server,
    recipient: User | Group,
    *,
    scopes: Iterable[str] | None = None,
    by: Actor,
    access: Access,
) -> Share:
    """Give someone scopes over one server, on top of those they have from before.

    Whoever grants must hold what they grant: `access` is what they may do.
    """
    granted = share_scopes(server, scopes, access)
    share = _add_scopes(_stored(server), recipient, granted)
    record(
        by,
        "share.grant",
        "server",
        str(server),
        recipient=recipient.name,
        kind=_kind(recipient),
        scopes=granted,
    )
    return share


@transaction.atomic
def revoke_share(
    share: Share, *, scopes: Iterable[str] | None = None, by: Actor
) -> Share | None:
    """Take scopes, or all of them, from a share; nothing left, no share."""
    current = Share.objects.select_for_update().filter(pk=share.pk).first()
    if current is None:
        return None
    share.scopes = current.scopes
    withdrawn = set(share.raw_scopes() if scopes is None else scopes)
    kept = [
        scope
        for scope, raw in zip(share.scopes, share.raw_scopes(), strict=True)
        if raw not in withdrawn
    ]
    if len(kept) == len(share.scopes):
        return share
    record(
        by,
        "share.revoke",
        "server",
        str(share.server),
        recipient=share.recipient.name,
        kind=share.kind,
        scopes=sorted(set(share.scopes) - set(kept)),
    )
    if not kept:
        share.delete()
        return None
    share.scopes = kept
    share.save(update_fields=["scopes"])
    return share


@transaction.atomic
def revoke_shares(server: Server, *, by: Actor) -> int:
    """End every share of a server."""
    shares = Share.objects.filter(server_id=server.pk)
    names = [share.recipient.name for share in shares.select_related("user", "group")]
    if names:
        shares.delete()
        record(by, "share.revoke", "server", str(server), recipients=names)
    return len(names)


@transaction.atomic
def issue_share_code(
    server: Server,
    *,
    scopes: Iterable[str] | None = None,
    expires_in: int = CODE_LIFETIME,
    by: Actor,
    access: Access,
) -> tuple[ShareCode, str]:
    """Store an invitation to a server and return it with its code.

    The code exists in the return value and nowhere else.
    """
    if expires_in not in CODE_LIFETIMES:
        raise Invalid(
            f"expires_in must be between {CODE_LIFETIMES[0]} and "
            f"{CODE_LIFETIMES[-1]} seconds, not {expires_in}"
        )
    granted = share_scopes(server, scopes, access)
    code, public_id = format.mint(CODE_PREFIX, keys.tag_keys())
    now = timezone.now()
    invitation = ShareCode.objects.create(
        server=_stored(server),
        public_id=public_id,
        digest=digests.digest(code, APIToken.Origin.MINTED),
        scopes=granted,
        created_at=now,
        expires_at=now + timedelta(seconds=expires_in),
    )
    record(
        by,
        "sharecode.issue",
        "server",
        str(server),
        id=f"sc_{invitation.pk}",
        expires_in=expires_in,
        scopes=granted,
    )
    return invitation, code


@transaction.atomic
def revoke_share_codes(server: Server, ids: Iterable[int] | None, *, by: Actor) -> int:
    """End some invitations to a server, or all of them; return how many."""
    invitations = ShareCode.objects.filter(server_id=server.pk)
    if ids is not None:
        invitations = invitations.filter(pk__in=ids)
    revoked = [f"sc_{pk}" for pk in invitations.values_list("pk", flat=True)]
    if revoked:
        invitations.delete()
        record(by, "sharecode.revoke", "server", str(server), ids=revoked)
    return len(revoked)


def find_share_code(code: str, now: datetime) -> ShareCode | None:
    """Return the invitation that this code opens, while it lasts."""
    if not (
        code.startswith(f"{CODE_PREFIX}_")
        and format.is_ours(code)
        and format.is_genuine(code, keys.tag_keys())
    ):
        return None
    invitation = (
        ShareCode.objects.active(now)
        .filter(public_id=format.public_id(code))
        .select_related("server__user")
        .first()
    )
    if invitation is None or not digests.matches(code, invitation.digest):
        return None
    return invitation


@transaction.atomic
def accept_share_code(invitation: ShareCode, user: User, *, by: Actor) -> Share:
    """Exchange an invitation for a share; it stays good for others until it expires."""
    server = invitation.server
    if server.user_id == user.pk:
        raise Invalid("This is your own server: share the link with someone else.")
    share = _add_scopes(server, user, invitation.scopes)
    ShareCode.objects.filter(pk=invitation.pk).update(
        exchange_count=F("exchange_count") + 1, last_exchanged_at=timezone.now()
    )
    record(
        by,
        "sharecode.accept",
        "server",
        str(server),
        id=f"sc_{invitation.pk}",
        recipient=user.name,
        scopes=invitation.scopes,
    )
    return share


def share_scopes(
    server: Server, scopes: Iterable[str] | None, access: Access
) -> list[str]:
    """Return the base names of what is to be granted over a server.

    A share reaches one server whatever that is called today, so that the filter is
    not stored. Refused are scopes that say something else, and those that whoever
    grants lacks.
    """
    owner = server.user.name
    target = f"{owner}/{server.name}"
    granted: dict[str, None] = {}
    for raw in DEFAULT_SHARE_SCOPES if scopes is None else scopes:
        name, bang, found = raw.partition("!")
        if bang and found != f"server={target}":
            raise Invalid(
                f"Can only grant scopes of this server: {raw} should be "
                f"{name}!server={target}"
            )
        full = f"{name}!server={target}"
        check_scopes([full], holder="share")
        if not _reaches(access, full, server):
            raise Forbidden(f"Do not have permission to grant share with scope {full}")
        granted[name] = None
    if not granted:
        raise Invalid("Must specify at least one scope to share")
    return list(granted)


def _reaches(access: Access, scope: str, server: Server) -> bool:
    """Tell whether `access` holds all that a scope of this server stands for."""
    expanded = expand([scope], Identity("user", server.user.name))
    return all(
        access.allows(RawScope.parse(text).name, obj=server) for text in expanded
    )


def _add_scopes(
    server: Server, recipient: User | Group, scopes: Iterable[str]
) -> Share:
    kind = _kind(recipient)
    share, created = Share.objects.select_for_update().get_or_create(
        server=server, **{kind: recipient}, defaults={"scopes": list(scopes)}
    )
    if not created:
        share.scopes = list(dict.fromkeys([*share.scopes, *scopes]))
        share.save(update_fields=["scopes"])
    # Known here, and perhaps gone by the time that the share is shown.
    share.server = server
    setattr(share, kind, recipient)
    return share


def _kind(recipient: User | Group) -> str:
    return "user" if isinstance(recipient, User) else "group"


def _find(user: User, name: str) -> Server:
    server = Server.objects.filter(user=user, name=name).first()
    if server is not None:
        return server
    if name:
        check_server_name(name)
        raise NotFound(f"User {user.name} has no such server '{name}'")
    # Everyone has a default server; the row appears with the first change to it.
    return Server(user=user, user_options={})


def _stored(server: Server) -> Server:
    """Return a server with a row: a default server has none until it needs one."""
    if server.pk is not None:
        return server
    stored, _ = Server.objects.get_or_create(
        user=server.user, name=server.name, defaults={"user_options": {}}
    )
    return stored


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
