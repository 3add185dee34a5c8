"""The rows that a controller reads and writes, each write with its fence.

A term of leadership has a number, the epoch. Every transaction here begins by making
sure that it is still the latest, and keeps it so until it ends: whoever takes over
waits for that moment, and reads after it. What belongs to one wish is written only
while no newer wish has come, and says so by returning False.
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
# What the controller has to do something about; the others just run.
UNSETTLED = ~Q(generation=F("settled")) | Q(pending__isnull=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One server's row as it was read: the wish, and what a spawner may know."""

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
        """Tell whether something may run that was started for this server."""
        context = self.context
        return bool(context.attempt or context.url or context.state)


class Outcome(Enum):
    """What came of settling a row."""

    SETTLED = 1
    OUTDATED = 2
    TO_FORGET = 3


@dataclass(frozen=True, slots=True)
class Sign:
    """What tells without reading a whole row that a server needs attention."""

    id: int
    generation: int
    announced_port: int | None


def take_over(holder: str, facts: dict[str, Any]) -> int:
    """Begin a term and return its epoch; what was ready has to be looked at again."""
    now = timezone.now()
    with transaction.atomic():
        # Waits for the last transaction of whoever led before.
        Leadership.objects.get_or_create(pk=1)
        Leadership.objects.filter(pk=1).update(
            epoch=F("epoch") + 1, holder=holder, since=now, seen=now, facts=facts
        )
        epoch = Leadership.objects.values_list("epoch", flat=True).get(pk=1)
        ready = Server.objects.filter(ready=True)
        lock_all(ready)
        ready.update(ready=False, pending=Server.Pending.CHECK)
        credentials.end_strays(by=BY)
        announce()
    return epoch


class Records:
    """What one controller may read and write during its term; run it in threads."""

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
        """Call a function that writes, within the fence."""
        with self.fenced():
            return do(*args, **keywords)

    def beat(self) -> None:
        """Give a sign of life."""
        alive = Leadership.objects.filter(pk=1, epoch=self.epoch)
        if not alive.update(seen=timezone.now()):
            raise Lost("another controller has taken over")

    # Looking

    def look(self, *, everywhere: bool) -> tuple[list[Sign], list[int]]:
        """Return the servers that need attention, and the questions that are open.

        `everywhere` includes the servers that are just running.
        """
        rows = Server.objects.filter(ACTIVE if everywhere else UNSETTLED)
        signs = [
            Sign(*row)
            for row in rows.order_by().values_list("id", "generation", "announced_port")
        ]
        questions = Inquiry.objects.filter(answered_at=None).order_by("id")
        return signs, list(questions.values_list("id", flat=True))

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
        """Commit to a start before it has an effect; return the server's new secret.

        None, and nothing is changed, if the start is not wanted any more.
        """
        with self.fenced():
            # The new token points to the user.
            keep(User, row.context.user_id)
            server = self._locked(row)
            if server is None:
                return None
            server.attempt, server.url, server.announced_port = attempt, "", None
            server.save(update_fields=["attempt", "url", "announced_port"])
            return credentials.give(server, scopes, by=BY)

    def rehash(self, row: Row, secret: str, scopes: Requested) -> str:
        """Let a server keep the secret that it had before; say why that can't be."""
        with self.fenced():
            keep(User, row.context.user_id)
            server = self._locked(row)
            if server is None:
                return ""
            return credentials.rehash(server, secret, scopes, by=BY)

    def keep(self, row: Row, state: Event, url: str) -> bool:
        """Store by what a server is found again, and where it listens."""
        with self.fenced():
            return bool(self._own(row).filter(ACTIVE).update(state=state, url=url))

    def tell(self, row: Row, events: Sequence[Event]) -> None:
        """Store what happened during a start."""
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
        """Store that a start came to nothing; its secret is worth nothing any more."""
        with self.fenced():
            server = self._locked(row)
            if server is None:
                return False
            credentials.take_back(server, by=BY)
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
        """Store that a server is stopped; if its start never ended, say `cancelled`.

        One that is to be removed is deleted, once its spawner has `forgotten` it.
        """
        now = timezone.now()
        with self.fenced():
            User.objects.filter(
                Q(last_activity=None) | Q(last_activity__lt=now), pk=row.context.user_id
            ).update(last_activity=now)
            server = self._locked(row)
            if server is None:
                return Outcome.OUTDATED
            if server.remove_when_stopped and not forgotten:
                return Outcome.TO_FORGET
            if not resumes or server.remove_when_stopped:
                credentials.take_back(server, by=BY)
            announce()
            if server.remove_when_stopped:
                server.delete()
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
        """Return the row, as long as no newer wish has come."""
        return Server.objects.filter(pk=row.id, generation=row.generation)

    def _locked(self, row: Row) -> Server | None:
        server: Server | None = locked(self._own(row).select_related("user")).first()
        return server

    def _add(self, row: Row, events: Sequence[Event]) -> None:
        ServerEvent.objects.bulk_create(
            ServerEvent(server_id=row.id, generation=row.generation, data=event)
            for event in events
        )
        announce()

    # All servers

    def stop_all(self) -> int:
        """Wish that every server be stopped, in batches."""
        ids = Server.objects.filter(ACTIVE).order_by("pk").values_list("pk", flat=True)
        return sum(in_batches(list(ids), partial(stop_some, by=BY), within=self.fenced))

    def count_active(self) -> int:
        return Server.objects.filter(ACTIVE).count()

    # Questions

    def question(self, inquiry_id: int) -> tuple[str, dict[str, Any]] | None:
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

    def forget_questions(self) -> None:
        """Delete what nobody waits for any more."""
        old = abandoned(timezone.now())
        if old.exists():
            with self.fenced():
                delete_all(old)

    def is_being_forgotten(self, row: Row) -> bool:
        """Tell whether an earlier server of this name is still to be forgotten."""
        called = (row.context.user_name, row.context.name)
        asked = Inquiry.objects.filter(kind="forget", answered_at=None)
        return any(
            (payload["owner"], payload["server_name"]) == called
            for payload in asked.values_list("payload", flat=True)
        )

    def context_of(self, owner: str, server_name: str) -> SpawnContext | None:
        """Return what a spawner may know of a server, that may not exist yet."""
        user = User.objects.filter(name=owner).first()
        if user is None:
            return None
        server = Server.objects.filter(user=user, name=server_name).first()
        return SpawnContext.of(server or Server(user=user, name=server_name))
