"""A controller for tests, which changes rows and starts no processes.

It acts in the waiting thread at each read of the rows, so that a test's transaction
sees all changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F
from django.utils import timezone

from database.notifications import Watcher
from servers.models import Inquiry, Server, ServerEvent

TURN = 0.01


@dataclass
class Settler:
    """Settles, at each turn, one step of every wish.

    `starts` says how starts go: `ready`, `fail`, or `hang`; stops always succeed,
    unless `stops` is `hang`. `before` is called before each turn, and may change
    what is wanted in between.
    """

    starts: str = "ready"
    stops: str = "stopped"
    alive: bool = True
    answers: bool = True
    failure: str = "The process ended with status 1."
    failure_detail: str = ""
    failure_status: int | None = None
    before: list[Callable[[], object]] = field(default_factory=list)
    turns: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def act(self) -> None:
        self.turns += 1
        for step in self.before:
            step()
        for server in Server.objects.exclude(generation=F("settled")):
            if server.wanted == Server.Wanted.STOPPED:
                self.stop(server)
            else:
                self.start(server)
        if self.answers:
            for inquiry in Inquiry.objects.filter(answered_at=None):
                self.answer(inquiry)

    def stop(self, server: Server) -> None:
        if self.stops == "hang":
            return
        if server.remove_when_stopped:
            server.delete()
            return
        server.pending, server.started = None, None
        server.settled = server.generation
        server.save()

    def start(self, server: Server) -> None:
        if not server.events.filter(data__progress=50).exists():
            self.tell(server, progress=50, message="Spawning server...")
            return
        if self.starts == "hang":
            return
        server.pending = None
        server.settled = server.generation
        if self.starts == "ready":
            server.ready = True
        else:
            server.wanted, server.started = Server.Wanted.STOPPED, None
            server.failure, server.failure_status = self.failure, self.failure_status
            server.failure_detail = self.failure_detail
            message = f"Spawn failed: {self.failure}"
            self.tell(server, progress=100, failed=True, message=message)
        server.save()

    def tell(self, server: Server, **data: Any) -> None:
        ServerEvent.objects.create(
            server=server, generation=server.generation, data=data
        )

    def answer(self, inquiry: Inquiry) -> None:
        self.asked.append(inquiry.payload)
        if inquiry.kind == "poll" and not self.alive:
            Server.objects.filter(pk=inquiry.payload["server_id"]).update(
                ready=False, wanted=Server.Wanted.STOPPED
            )
        inquiry.answer, inquiry.answered_at = {"alive": self.alive}, timezone.now()
        inquiry.save()

    async def watch(self, watcher: Watcher) -> None:
        """Take turns for as long as anybody on the loop listens for changes."""
        while watcher._waiters:
            await asyncio.to_thread(self.act)
            watcher._notify()
            await asyncio.sleep(TURN)
