"""Actions on servers: start and stop.

Both are requests. An action writes the wanted state into the row and increments
`generation`; the controller carries it out, and `servers.waiting` waits for the result.
Nothing here starts a process.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import User
from audit.actions import record, record_many
from audit.models import Actor
from database.batches import in_batches
from database.locks import lock_all, locked
from database.notifications import announce
from scopes.refusals import Busy, Conflict, Forbidden, Invalid, NotFound
from servers.limits import (
    NO_ROOM,
    NO_ROOM_ON_PAGES,
    Capacity,
    limit_of_names,
    lock_capacity,
    require_room_for_name,
)
from servers.models import ACTIVE, Server, ServerEvent
from servers.named_server_actions import (
    create_server,
    delete_server,
    lock_owner,
    require_named_servers,
)
from servers.names import (
    check_display_name,
    check_server_name,
    check_user_options,
    is_server_name,
)

# Servers that one transaction starts, of which each takes several rows.
STARTS = 100

# The first event of a start's progress stream.
REQUESTED = {"progress": 0, "message": "Server requested"}


class AlreadyRunning(Invalid):
    """A server that is to be started is ready already, as far as the row shows.

    Its process may have ended since. A caller may have the controller check (`poll`,
    see `servers.controller_calls`) and try again if the process has ended.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(f"{server.label} is already running")
        self.server = server


def start_server(
    user: User,
    name: str,
    *,
    user_options: dict[str, Any] | None = None,
    display_name: str = "",
    by: Actor,
) -> tuple[Server, bool]:
    """Request the start of a server; a named one that does not exist is created.

    Without options the server starts with its latest ones. Returns the row, and False
    if the server was starting already, in which case nothing is changed.
    """
    check_user_options(user_options)
    if name:
        _require_startable_name(user, name, display_name, by)
    known = Server.objects.filter(user=user, name=name).first()
    if known is not None and known.pending == Server.Pending.SPAWN:
        # Checked without a lock first, so that many equal requests need not wait for
        # it.
        known.user = user
        return known, False
    with transaction.atomic():
        return _want_running(user, name, user_options, display_name, by)


def require_startable(user: User, name: str, display_name: str, by: Actor) -> None:
    """Refuse a named server that could not be started, before options are shown.

    The start itself checks again.
    """
    if not name:
        return
    require_named_servers()
    is_new = not Server.objects.filter(user=user, name=name).exists()
    if is_new:
        check_server_name(name)
    if display_name:
        check_display_name(display_name)
    if is_new:
        require_room_for_name(user, limit_of_names(by))


def _require_startable_name(
    user: User, name: str, display_name: str, by: Actor
) -> None:
    require_named_servers()
    if not Server.objects.filter(user=user, name=name).exists():
        # Another request may just have created the server, which is no error.
        with suppress(Conflict):
            create_server(user, name, display_name=display_name, by=by)
        return
    allowed = settings.HUB.allow_existing_invalid_named_servers
    if allowed != "allow-start" and not is_server_name(name):
        raise Invalid(
            f"Starting invalid server_name {name!r} is disabled, contact your "
            "administrator"
        )
    if display_name:
        check_display_name(display_name)


def _want_running(
    user: User,
    name: str,
    user_options: dict[str, Any] | None,
    display_name: str,
    by: Actor,
) -> tuple[Server, bool]:
    lock_capacity()
    user = lock_owner(user)
    server = _locked(user, name)
    if server is None:
        if name:
            raise NotFound(f"{user.name} has no server named '{name}'")
        server = Server(user=user)
    if server.pending == Server.Pending.SPAWN:
        return server, False
    if server.pending:
        raise Invalid(f"{server.label} is pending {server.pending}")
    if server.ready:
        raise AlreadyRunning(server)
    _require_welcome(user)
    Capacity.now().require()
    if user_options is not None:
        server.user_options = user_options
    elif server.user_options is None:
        # No options were given, which is stored as such from now on.
        server.user_options = {}
    if name and display_name:
        server.display_name = display_name
    now = timezone.now()
    server.wanted = Server.Wanted.RUNNING
    server.generation += 1
    server.pending = Server.Pending.SPAWN
    server.failure, server.failure_detail, server.failure_status = "", "", None
    server.announced_port = None
    server.remove_when_stopped = False
    server.started = server.last_activity = now
    server.save()
    _delete_events([server.pk])
    ServerEvent.objects.create(
        server=server, generation=server.generation, data=REQUESTED
    )
    _note_activity([user.pk], now)
    record(by, "server.start", "server", str(server))
    announce()
    return server, True


def stop_server(
    user: User, name: str, *, remove: bool = False, by: Actor
) -> Server | None:
    """Request the stop of a server, also of a starting one; None if it is stopped.

    `remove` deletes a named server once it is stopped. The deletion is recorded now,
    because now the actor is known.
    """
    if name:
        require_named_servers()
    elif remove:
        raise Invalid("Cannot delete the default server")
    with transaction.atomic():
        lock_capacity()
        user = lock_owner(user)
        server = _locked(user, name, for_deletion=remove)
        if server is None and name:
            raise NotFound(f"{user.name} has no server named '{name}'")
        if server is None:
            know_default_server(user)
            return None
        if not server.is_active:
            if remove:
                delete_server(user, name, by=by)
            return None
        if remove and not server.remove_when_stopped:
            server.remove_when_stopped = True
            server.save(update_fields=["remove_when_stopped"])
            record(by, "server.delete", "server", str(server))
        if server.pending != Server.Pending.STOP:
            server.wanted = Server.Wanted.STOPPED
            server.generation += 1
            server.pending = Server.Pending.STOP
            server.ready = False
            server.save(update_fields=["wanted", "generation", "pending", "ready"])
            record(by, "server.stop", "server", str(server))
            announce()
    return server


def know_default_server(user: User) -> None:
    """Create the row of a default server that was never used.

    As in JupyterHub, the progress of a default server without a row is not found;
    signing in and calls that act on the server create the row.
    """
    Server.objects.get_or_create(user=user, name="")


def stop_servers(servers: QuerySet[Server], *, by: Actor) -> int:
    """Request the stop of servers, in batches; return how many are new."""
    running = servers.filter(ACTIVE).exclude(pending=Server.Pending.STOP)
    ids = running.order_by("pk").values_list("pk", flat=True)
    return sum(in_batches(list(ids), partial(stop_some, by=by)))


def stop_some(ids: list[int], *, by: Actor) -> int:
    """Request the stop of a batch of servers; return how many were not stopping yet.

    The batch is part of the caller's transaction.
    """
    lock_capacity()
    chosen = Server.objects.filter(ACTIVE, pk__in=ids)
    rows = _locked_rows(chosen.exclude(pending=Server.Pending.STOP))
    Server.objects.filter(pk__in=[pk for pk, _, _ in rows]).update(
        wanted=Server.Wanted.STOPPED,
        generation=F("generation") + 1,
        pending=Server.Pending.STOP,
        ready=False,
    )
    _record_many(by, "server.stop", rows)
    return len(rows)


def stop_servers_of(users: QuerySet[User], by: Actor) -> int:
    """Request the stop of all servers of these users."""
    return stop_servers(Server.objects.filter(user__in=users.values("pk")), by=by)


def stop_servers_at_sign_out(user: User, by: Actor) -> None:
    """Stop a user's servers at sign-out, if the hub is configured so."""
    if settings.HUB.shutdown_on_logout:
        stop_servers(Server.objects.filter(user=user), by=by)


def start_servers(servers: QuerySet[Server], *, by: Actor) -> int:
    """Request the start of servers, as far as limits allow; return the number of
    starts.

    Active servers and those of users who may not sign in are skipped. The servers start
    in batches. Raises `Busy` if the limits allow no start at all.
    """
    ids = list(_startable(servers).order_by("pk").values_list("pk", flat=True))
    started = sum(in_batches(ids, partial(_start_some, by=by), size=STARTS))
    if not started and _startable(Server.objects.filter(pk__in=ids[:1])).exists():
        raise Busy(NO_ROOM, on_pages=NO_ROOM_ON_PAGES)
    return started


def _startable(servers: QuerySet[Server]) -> QuerySet[Server]:
    stopped = servers.filter(ready=False, pending=None, user__is_active=True).exclude(
        user__name__in=settings.HUB.blocked_users
    )
    return stopped if settings.HUB.allow_named_servers else stopped.filter(name="")


def _start_some(ids: list[int], *, by: Actor) -> int:
    """Request the start of a few servers, as far as limits allow; return the number."""
    lock_capacity()
    stopped = _startable(Server.objects.filter(pk__in=ids))
    # With this lock a user is deactivated or deleted either before this, or afterwards.
    lock_all(User.objects.filter(pk__in=stopped.order_by().values("user")))
    rows = _locked_rows(stopped)
    rows = rows[: Capacity.now().left(len(rows))]
    if not rows:
        return 0
    now = timezone.now()
    started = Server.objects.filter(pk__in=[pk for pk, _, _ in rows])
    started.filter(user_options__isnull=True).update(user_options={})
    started.update(
        wanted=Server.Wanted.RUNNING,
        generation=F("generation") + 1,
        pending=Server.Pending.SPAWN,
        failure="",
        failure_detail="",
        failure_status=None,
        announced_port=None,
        remove_when_stopped=False,
        started=now,
        last_activity=now,
    )
    _delete_events([pk for pk, _, _ in rows])
    ServerEvent.objects.bulk_create(
        ServerEvent(server_id=pk, generation=generation, data=REQUESTED)
        for pk, generation in started.values_list("pk", "generation")
    )
    owners = started.order_by().values_list("user_id", flat=True)
    _note_activity(sorted(set(owners)), now)
    _record_many(by, "server.start", rows)
    return len(rows)


def why_user_is_busy(user: User) -> str | None:
    """Return the reason why a user can't be renamed or deleted, or None."""
    active = Server.objects.filter(Q(ready=True) | Q(pending__isnull=False), user=user)
    if active.exists():
        return f"{user.name}'s server is active. Please stop it first."
    return None


def _require_welcome(user: User) -> None:
    if not user.is_active or user.name in settings.HUB.blocked_users:
        raise Forbidden(f"{user.name} may not use this hub, nor have servers on it.")


def _locked(user: User, name: str, *, for_deletion: bool = False) -> Server | None:
    rows = Server.objects.filter(user=user, name=name)
    server = locked(rows, for_deletion=for_deletion).first()
    if server is not None:
        server.user = user
    return server


def _locked_rows(servers: QuerySet[Server]) -> list[tuple[int, str, str]]:
    """Lock these servers; return the id, owner and name of each, oldest first."""
    chosen = Server.objects.filter(pk__in=servers.order_by().values("pk"))
    # PostgreSQL locks the rows of a SELECT of objects, not of values.
    rows = chosen.select_related("user").only("name", "user__name")
    return [(server.pk, server.user.name, server.name) for server in locked(rows)]


def _delete_events(servers: list[int]) -> None:
    """Delete the events of earlier starts of these servers."""
    events = ServerEvent.objects.filter(server__in=servers)
    # A purge locks old events in the order of their ids, too.
    lock_all(events, for_deletion=True)
    events.delete()


def _note_activity(users: list[int], now: datetime) -> None:
    older = Q(last_activity=None) | Q(last_activity__lt=now)
    User.objects.filter(older, pk__in=users).update(last_activity=now)


def _record_many(by: Actor, action: str, rows: list[tuple[int, str, str]]) -> None:
    """Record one action on one or many servers, and notify the controller."""
    if rows:
        names = [f"{owner}/{name}" for _, owner, name in rows]
        record_many(by, action, "server", names)
        announce()
