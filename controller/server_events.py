"""Starts and stops of servers, as events in JupyterHub's schema `server-action`.

Only requested actions that succeeded are events: a server that ended by itself was not
stopped by the hub. Without `c.EventLogger.handlers` each event is a line of JSON in
`events.log`, as `jupyter_events` writes it. That library is only imported if a site has
handlers of its own, because the import takes a second of CPU.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from controller.spawners.spawn_context import SpawnContext

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

SCHEMA = "https://schema.jupyter.org/jupyterhub/events/server-action"
SCHEMA_FILE = Path("event-schemas", "server-actions", "v1.yaml")
VERSION = "1"
LARGEST = 20_000_000

# An event with the time at which it happened.
Moment = tuple[datetime, dict[str, str]]
Emit = Callable[[Moment], None]


async def run(term: Term) -> None:
    """Emit each start and stop of this term, in their order."""
    queue: asyncio.Queue[Moment] = asyncio.Queue()

    def note(action: str, context: SpawnContext) -> None:
        event = {
            "action": action,
            "username": context.user_name,
            "servername": context.name,
        }
        queue.put_nowait((datetime.now(UTC), event))

    def stopped(context: SpawnContext, seconds: float, why: str) -> None:
        if why != "exit":
            note("stop", context)

    term.on_started.append(lambda context, seconds: note("start", context))
    term.on_stopped.append(stopped)
    emit: Emit | None = None
    try:
        while True:
            event = await queue.get()
            if emit is None:
                emit = await asyncio.to_thread(emitter)
            await asyncio.to_thread(_emit, emit, event)
    finally:
        while emit and not queue.empty():
            _emit(emit, queue.get_nowait())


def _emit(emit: Emit, event: Moment) -> None:
    try:
        emit(event)
    except Exception:
        # A full disk, or an error in a handler of the site, must end nothing else.
        logger.exception("An event was lost")


def emitter() -> Emit:
    """Return the function that emits events to the site's handlers or the file."""
    section = settings.HUB.raw.get("EventLogger", {})
    return to_handlers() if section.get("handlers") else to_file()


class PrivateFile(RotatingFileHandler):
    """A log readable by the hub's account only, because it shows people's activity."""

    def _open(self) -> Any:
        path = Path(self.baseFilename)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        # A file of an earlier version may be readable by others.
        path.chmod(0o600)
        return super()._open()


def to_file() -> Emit:
    """Write events to a file, which is rotated when it is large."""
    folder = settings.DATA_DIR / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Opened at the first line, and reopened if necessary.
    handler = PrivateFile(
        folder / "events.log",
        maxBytes=LARGEST,
        backupCount=settings.LOG_FILES,
        delay=True,
    )
    handler.handleError = _raise  # type: ignore[method-assign]

    def emit(event: Moment) -> None:
        text = json.dumps(capsule(event), ensure_ascii=False)
        record = logging.LogRecord("events", logging.INFO, "", 0, text, None, None)
        handler.handle(record)

    return emit


def _raise(record: logging.LogRecord) -> None:
    """Raise the error to the caller that writes; called while the error is handled."""
    raise


def capsule(event: Moment) -> dict[str, Any]:
    """Return an event with the name and version of its schema."""
    at, data = event
    return {
        "__timestamp__": at.isoformat().replace("+00:00", "Z"),
        "__schema__": SCHEMA,
        "__schema_version__": VERSION,
        "__metadata_version__": 1,
        **data,
    }


def to_handlers() -> Emit:
    """Have `jupyter_events` validate events and pass them to the site's handlers."""
    import jupyterhub
    from jupyter_events.logger import EventLogger

    events = EventLogger(config=settings.HUB.raw)
    folder = Path(jupyterhub.__file__).parent
    events.register_event_schema(folder / SCHEMA_FILE)

    def emit(event: Moment) -> None:
        at, data = event
        events.emit(schema_id=SCHEMA, data=data, timestamp_override=at)

    return emit
