"""The rows that a controller reads and writes, each write with a fencing check.

A term of leadership has a number, the epoch. Every transaction here begins with a lock
on the row of the epoch and a check that the epoch is still the latest. A new leader
waits for such transactions and reads after them. Writes about one generation of a row
are made only while there is no newer generation, and return False otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User
from audit.models import Actor
from controller.leadership import Lost
from controller.spawners.failures import SpawnFailed
from controller.spawners.spawn_context import SpawnContext
from database.batches import in_batches
from database.locks import delete_all, fixed_value, keep, lock_all, locked
from database.notifications import announce
from servers import credentials
from servers.actions import stop_some
from servers.controller_calls import abandoned
from servers.credentials import Requested
from servers.models import ACTIVE, Inquiry, Leadership, Server, ServerEvent

T = TypeVar("T")
Event = dict[str, Any]

BY = Actor.system("controller")
# Rows that the controller must act on; other active rows just run.
UNSETTLED = ~Q(generation=F("settled")) | Q(pending__isnull=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One server's row as it was read: its generation, and the spawner's context."""

    context: SpawnContext
    generation: int
    settled: int
    wanted: str
    pending: str | None
    ready: bool
    remove_when_stopped: bool
    is_welcome: bool

    @property
    def id(self) -> int:
        return self.context.server_id

    @property
    def has_left_traces(self) -> bool:
        """Return whether a process or job of this server may still run."""
        context = self.context
        return bool(context.attempt or context.url or context.state)


class Outcome(Enum):
    """The result of settling a row."""

    SETTLED = 1
    OUTDATED = 2
    TO_FORGET = 3


@dataclass(frozen=True, slots=True)
class Sign:
    """The columns that show, without the whole row, that a server needs attention."""

    id: int
    generation: int
    announced_port: int | None


def take_over(holder: str, facts: dict[str, Any]) -> int:
    """Begin a term and return its epoch; ready servers have to be verified again."""
    now = timezone.now()
    with transaction.atomic():
        # Waits for the last transaction of the previous leader.
        Leadership.objects.get_or_create(pk=1)
        Leadership.objects.filter(pk=1).update(
            epoch=F("epoch") + 1, holder=holder, since=now, seen=now, facts=facts
        )
        epoch = Leadership.objects.values_list("epoch", flat=True).get(pk=1)
        ready = Server.objects.filter(ready=True)
        lock_all(ready)
        ready.update(ready=False, pending=Server.Pending.CHECK)
        credentials.delete_stray_clients(by=BY)
        announce()
    return epoch


class Records:
    """The reads and writes of one controller in its term; run them in threads."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Hold a transaction that only the controller of the latest epoch can have."""
        with transaction.atomic():
            if fixed_value(Leadership, 1, "epoch") != self.epoch:
                raise Lost("another controller has taken over")
            yield

    def write(self, do: Callable[..., T], *args: Any, **keywords: Any) -> T:
        """Call a function that writes, within the fenced transaction."""
        with self.fenced():
            return do(*args, **keywords)

    def beat(self) -> None:
        """Update the time of the controller's last sign of life."""
        alive = Leadership.objects.filter(pk=1, epoch=self.epoch)
        if not alive.update(seen=timezone.now()):
            raise Lost("another controller has taken over")

    # Reading

    def look(self, *, everywhere: bool) -> tuple[list[Sign], list[int]]:
        """Return the servers that need attention, and the ids of open calls.

        `everywhere` includes the servers that are just running.
        """
        rows = Server.objects.filter(ACTIVE if everywhere else UNSETTLED)
        signs = [
            Sign(*row)
            for row in rows.order_by().values_list("id", "generation", "announced_port")
        ]
        calls = Inquiry.objects.filter(answered_at=None).order_by("id")
        return signs, list(calls.values_list("id", flat=True))

    def read(self, server_id: int) -> Row | None:
        server = Server.objects.select_related("user").filter(pk=server_id).first()
        if server is None:
            return None
        user = server.user
        return Row(
            context=SpawnContext.of(server),
            generation=server.generation,
            settled=server.settled,
            wanted=server.wanted,
            pending=server.pending,
            ready=server.ready,
            remove_when_stopped=server.remove_when_stopped,
            is_welcome=user.is_active and user.name not in settings.HUB.blocked_users,
        )

    # One server

    def begin(self, row: Row, attempt: str, scopes: Requested) -> str | None:
        """Store a start before it has an effect; return the server's new secret.

        Returns None, and changes nothing, if the start is not wanted any more.
        """
        with self.fenced():
            # The new token has a foreign key to the user.
            keep(User, row.context.user_id)
            server = self._locked(row)
            if server is None:
                return None
            server.attempt, server.url, server.announced_port = attempt, "", None
            server.save(update_fields=["attempt", "url", "announced_port"])
            return credentials.issue_credentials(server, scopes, by=BY)

    def rehash(self, row: Row, secret: str, scopes: Requested) -> str:
        """Let a server keep its earlier secret; return the reason if it can't."""
        with self.fenced():
            keep(User, row.context.user_id)
            server = self._locked(row)
            if server is None:
                return ""
            return credentials.rehash(server, secret, scopes, by=BY)

    def keep(self, row: Row, state: Event, url: str) -> bool:
        """Store the server's address, and the state to find the server again."""
        with self.fenced():
            return bool(self._own(row).filter(ACTIVE).update(state=state, url=url))

    def store_events(self, row: Row, events: Sequence[Event]) -> None:
        """Store progress events of a start."""
        with self.fenced():
            if self._own(row).exists():
                self._add(row, events)

    def settle_ready(
        self, row: Row, state: Event, url: str, events: Sequence[Event]
    ) -> bool:
        with self.fenced():
            settled = self._own(row).update(
                pending=None,
                ready=True,
                settled=row.generation,
                state=state,
                url=url,
                failure="",
                failure_detail="",
                failure_status=None,
            )
            if settled:
                self._add(row, events)
        return bool(settled)

    def settle_failed(
        self, row: Row, state: Event, failure: SpawnFailed, events: Sequence[Event]
    ) -> bool:
        """Store that a start has failed; its secret is revoked."""
        with self.fenced():
            # PostgreSQL checks the foreign keys of a row that is changed twice.
            keep(User, row.context.user_id)
            server = self._locked(row)
            if server is None:
                return False
            credentials.revoke_credentials(server, by=BY)
            self._settle_down(server, row, state)
            Server.objects.filter(pk=row.id).update(
                failure=failure.message,
                failure_detail=failure.detail,
                failure_status=failure.status,
            )
            self._add(row, events)
        return True

    def settle_stopped(
        self,
        row: Row,
        state: Event,
        *,
        resumes: bool,
        forgotten: bool,
        cancelled: Event,
    ) -> Outcome:
        """Store that a server is stopped.

        A start that never ended gets the event `cancelled`. A server that is to be
        removed is deleted, once its spawner has deleted its resources (`forgotten`).
        """
        now = timezone.now()
        with self.fenced():
            owner = User.objects.filter(pk=row.context.user_id)
            # Also because the server is changed twice, see `settle_failed`.
            lock_all(owner)
            older = Q(last_activity=None) | Q(last_activity__lt=now)
            owner.filter(older).update(last_activity=now)
            server = self._locked(row, for_deletion=True)
            if server is None:
                return Outcome.OUTDATED
            if server.remove_when_stopped and not forgotten:
                return Outcome.TO_FORGET
            if not resumes or server.remove_when_stopped:
                credentials.revoke_credentials(server, by=BY)
            announce()
            if server.remove_when_stopped:
                delete_all(Server.objects.filter(pk=server.pk))
                return Outcome.SETTLED
            self._settle_down(server, row, state, now)
            last = server.events.order_by("-id").values_list("data", flat=True).first()
            if last and not last.get("ready") and not last.get("failed"):
                self._add(row, [cancelled])
        return Outcome.SETTLED

    def _settle_down(
        self, server: Server, row: Row, state: Event, now: datetime | None = None
    ) -> None:
        Server.objects.filter(pk=server.pk).update(
            wanted=Server.Wanted.STOPPED,
            pending=None,
            ready=False,
            settled=row.generation,
            started=None,
            state=state or None,
            url="",
            attempt="",
            announced_port=None,
            **({"last_activity": now} if now else {}),
        )

    def _own(self, row: Row) -> Any:
        """Return the row, unless there is a newer generation."""
        return Server.objects.filter(pk=row.id, generation=row.generation)

    def _locked(self, row: Row, *, for_deletion: bool = False) -> Server | None:
        rows = self._own(row).select_related("user")
        server: Server | None = locked(rows, for_deletion=for_deletion).first()
        return server

    def _add(self, row: Row, events: Sequence[Event]) -> None:
        ServerEvent.objects.bulk_create(
            ServerEvent(server_id=row.id, generation=row.generation, data=event)
            for event in events
        )
        announce()

    # All servers

    def stop_all(self) -> int:
        """Request the stop of every server, in batches."""
        ids = Server.objects.filter(ACTIVE).order_by("pk").values_list("pk", flat=True)
        return sum(in_batches(list(ids), partial(stop_some, by=BY), within=self.fenced))

    def count_active(self) -> int:
        return Server.objects.filter(ACTIVE).count()

    # Calls of web processes

    def call(self, inquiry_id: int) -> tuple[str, dict[str, Any]] | None:
        return (
            Inquiry.objects.filter(pk=inquiry_id, answered_at=None)
            .values_list("kind", "payload")
            .first()
        )

    def answer(self, inquiry_id: int, answer: Any) -> None:
        with self.fenced():
            Inquiry.objects.filter(pk=inquiry_id).update(
                answer=answer, answered_at=timezone.now()
            )
            announce()

    def delete_old_calls(self) -> None:
        """Delete the calls that no process waits for any more."""
        old = abandoned(timezone.now())
        if old.exists():
            with self.fenced():
                delete_all(old)

    def is_being_forgotten(self, row: Row) -> bool:
        """Return whether an earlier server of this name is still to be deleted."""
        called = (row.context.user_name, row.context.name)
        asked = Inquiry.objects.filter(kind="forget", answered_at=None)
        return any(
            (payload["owner"], payload["server_name"]) == called
            for payload in asked.values_list("payload", flat=True)
        )

    def context_of(self, owner: str, server_name: str) -> SpawnContext | None:
        """Return the spawn context of a server, which may not exist yet."""
        user = User.objects.filter(name=owner).first()
        if user is None:
            return None
        server = Server.objects.filter(user=user, name=server_name).first()
        return SpawnContext.of(server or Server(user=user, name=server_name))
