"""Sharing of servers: scopes granted to people and groups, and invitations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Group, User
from audit.actions import record
from audit.models import Actor
from database.locks import keep, lock_all, locked
from scopes.access import Access, Identity, Target, expand
from scopes.grammar import RawScope, check_number, check_scopes
from scopes.refusals import Forbidden, Invalid
from servers.models import Server, Share, ShareCode
from tokens import digests, format, imported, keys
from tokens.models import APIToken

CODE_PREFIX = "jhsc"
CODE_LIFETIME = 24 * 3600
CODE_LIFETIMES = range(60, 365 * 24 * 3600 + 1)
DEFAULT_SHARE_SCOPES = ("access:servers",)


@transaction.atomic
def grant_share(
    server: Server,
    recipient: User | Group,
    *,
    scopes: Iterable[str] | None = None,
    by: Actor,
    access: Access,
) -> Share:
    """Grant scopes over one server, in addition to those granted before.

    The grantor must have the scopes that are granted: `access` is the grantor's.
    """
    granted = share_scopes(server, scopes, access)
    # The share has foreign keys to all of them.
    people = {server.user_id}
    if isinstance(recipient, Group):
        keep(Group, recipient.pk)
    else:
        people.add(recipient.pk)
    keep(User, *people)
    server = _stored(server)
    keep(Server, server.pk)
    share = _add_scopes(server, recipient, granted)
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
    """Take scopes, or all of them, from a share; an empty share is deleted."""
    current = locked(Share.objects.filter(pk=share.pk), for_deletion=True).first()
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
    """Delete all shares of a server."""
    shares = Share.objects.filter(server_id=server.pk)
    lock_all(shares, for_deletion=True)
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
    code, public_id = format.generate(CODE_PREFIX, keys.tag_keys())
    now = timezone.now()
    invitation = ShareCode.objects.create(
        server=_stored(server),
        public_id=public_id,
        digest=digests.digest(code, APIToken.Origin.GENERATED),
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
    """Delete some invitations to a server, or all of them; return the number."""
    invitations = ShareCode.objects.filter(server_id=server.pk)
    if ids is not None:
        invitations = invitations.filter(pk__in=ids)
    lock_all(invitations, for_deletion=True)
    revoked = [f"sc_{pk}" for pk in invitations.values_list("pk", flat=True)]
    if revoked:
        invitations.delete()
        record(by, "sharecode.revoke", "server", str(server), ids=revoked)
    return len(revoked)


def find_share_code(code: str, now: datetime) -> ShareCode | None:
    """Return the invitation of this code, if it has not expired."""
    if format.is_ours(code):
        if not (
            code.startswith(f"{CODE_PREFIX}_")
            and format.is_genuine(code, keys.tag_keys())
        ):
            return None
        public_id = format.public_id(code)
    else:
        # A code from JupyterHub's database.
        if len(code) > format.MAX_LENGTH or not code.isascii():
            return None
        imported.claim_in(ShareCode.objects.all(), code)
        public_id = format.lookup_key(code, keys.lookup_hash_key())
    invitation = (
        ShareCode.objects.active(now)
        .filter(public_id=public_id)
        .select_related("server__user")
        .first()
    )
    if invitation is None or not digests.matches(code, invitation.digest):
        return None
    return invitation


@transaction.atomic
def accept_share_code(invitation: ShareCode, user: User, *, by: Actor) -> Share:
    """Exchange an invitation, which stays valid for others, for a share."""
    server = invitation.server
    if server.user_id == user.pk:
        raise Invalid("This is your own server: share the link with someone else.")
    keep(User, user.pk)
    keep(Server, server.pk)
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


def find_recipient(kind: str, name: str, access: Access) -> User | Group:
    """Return the user or group with whom to share.

    A caller who may not read names must not learn which of them exist.
    """
    model: type[User] | type[Group] = User if kind == "user" else Group
    scope = f"read:{kind}s:name"
    # No database stores this character, so no name contains it.
    found = None if "\0" in name else model.objects.filter(name=name).first()
    target = found or Target(**{kind: name})
    if not access.allows(scope, obj=target):
        raise Forbidden(f"Need scope '{scope}' to share with {kind}s by name")
    if found is None:
        raise Invalid(f"No such {kind}: {name}")
    return found


def share_scopes(
    server: Server, scopes: Iterable[str] | None, access: Access
) -> list[str]:
    """Return the base names of scopes that are to be granted over a server.

    A share reaches one server whatever its current name is, so the filter is not
    stored. Scopes with another filter are refused, and those that the grantor lacks.
    """
    owner = server.user.name
    target = f"{owner}/{server.name}"
    granted: dict[str, None] = {}
    wanted = list(dict.fromkeys(DEFAULT_SHARE_SCOPES if scopes is None else scopes))
    check_number(wanted, holder="share")
    for raw in wanted:
        name, bang, found = raw.partition("!")
        if bang and found != f"server={target}":
            raise Invalid(
                f"Can only grant scopes of this server: {raw} should be "
                f"{name}!server={target}"
            )
        full = f"{name}!server={target}"
        check_scopes([full], holder="share")
        if name in granted:
            continue
        if not _reaches(access, full, server):
            raise Forbidden(f"Do not have permission to grant share with scope {full}")
        granted[name] = None
    if not granted:
        raise Invalid("Must specify at least one scope to share")
    return list(granted)


def _reaches(access: Access, scope: str, server: Server) -> bool:
    """Return whether `access` contains all that a scope of this server stands for."""
    expanded = expand([scope], Identity("user", server.user.name))
    return all(
        access.allows(RawScope.parse(text).name, obj=server) for text in expanded
    )


def _add_scopes(
    server: Server, recipient: User | Group, scopes: Iterable[str]
) -> Share:
    kind = _kind(recipient)
    share, created = locked(Share.objects.all()).get_or_create(
        server=server, **{kind: recipient}, defaults={"scopes": list(scopes)}
    )
    if not created:
        share.scopes = list(dict.fromkeys([*share.scopes, *scopes]))
        share.save(update_fields=["scopes"])
    # The server exists now, and may be deleted before the share is shown.
    share.server = server
    setattr(share, kind, recipient)
    return share


def _kind(recipient: User | Group) -> str:
    return "user" if isinstance(recipient, User) else "group"


def _stored(server: Server) -> Server:
    """Return a server with a row, because an unused default server has none."""
    if server.pk is not None:
        return server
    stored, _ = Server.objects.get_or_create(user=server.user, name=server.name)
    return stored
