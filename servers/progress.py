"""Progress events of a start."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from django.utils.html import escape

from servers.models import Server, server_url
from servers.waiting import RowState, read_events, waiting_for

CANCELLED = "Spawn cancelled"


def ready_event(owner: str, name: str) -> dict[str, Any]:
    """Return the event that a server is ready, with its address."""
    url = server_url(owner, name)
    shown = escape(url)
    return {
        "progress": 100,
        "ready": True,
        "message": f"Server ready at {url}",
        "html_message": f'Server ready at <a href="{shown}">{shown}</a>',
        "url": url,
    }


def failed_event(message: str = "") -> dict[str, Any]:
    """Return the event that a start has failed, with the reason if that is known."""
    said = f"Spawn failed: {message}" if message else "Spawn failed"
    return {"progress": 100, "failed": True, "message": said}


def cancelled_event() -> dict[str, Any]:
    """Return the event that a start was cancelled at somebody's request."""
    return failed_event() | {"message": CANCELLED}


def is_last(event: dict[str, Any]) -> bool:
    return bool(event.get("ready") or event.get("failed"))


def last_event(server: Server) -> dict[str, Any] | None:
    """Return the last event of the latest start, or None if that is unknown."""
    if server.pending or not (server.ready or server.failure):
        return None
    events = read_events([server.pk], 0).get(server.pk, [])
    for _, generation, event in reversed(events):
        if generation == server.generation and is_last(event):
            return event
    if server.ready:
        return ready_event(server.user.name, server.name)
    return failed_event(server.failure)


async def follow(server: Server, beat: float) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the events of a start until its last; None as a sign of life each beat.

    The controller writes the last event. If the last event is missing, for instance
    after a crash, it is made from the row. The same holds for a server that is being
    verified, because the events of its start are over and end with "ready".
    """
    generation = server.generation
    wants_events = server.pending != Server.Pending.CHECK
    next_beat = time.monotonic() + beat
    yield None
    async with waiting_for(server.pk, wants_events=wants_events) as waiter:
        while True:
            changed = await waiter.next(max(next_beat - time.monotonic(), 0))
            events, waiter.events = waiter.events, []
            for _, cause, event in events:
                if cause == generation:
                    yield event
                    if is_last(event):
                        return
            if changed and (last := _end(waiter.seen, generation, server)) is not None:
                yield last
                return
            if time.monotonic() >= next_beat:
                next_beat += beat
                yield None


def _end(
    seen: RowState | None, generation: int, server: Server
) -> dict[str, Any] | None:
    """Return the last event of a start if its row shows the end, otherwise None."""
    if seen is None or seen.generation != generation:
        # The server was deleted, or stopped and perhaps started again.
        return cancelled_event()
    if seen.ready:
        return ready_event(server.user.name, server.name)
    if seen.has_settled(generation):
        return failed_event(seen.failure)
    return None
