"""The tasks that the leading controller runs beside the reconcilers of servers.

Each entry is a module's `async def run(term: Term) -> None`. A task is started when a
controller begins to lead and cancelled when the controller no longer leads. A task that
fails is logged and started again after a pause; a task that returns is done.
`controller.term` says what a task may use.
"""

from __future__ import annotations

from controller import (
    authenticator,
    bulk_changes,
    cleanup,
    culler,
    leaks,
    metrics,
    notices,
    retention,
    routing,
    sealing,
    server_events,
    service_processes,
)
from controller.term import Task

TASK_GROUP: tuple[Task, ...] = (
    # The first, because it measures the others.
    metrics.run,
    server_events.run,
    # Soon, because without routes no server and no service can be reached.
    routing.run,
    authenticator.run,
    leaks.run,
    bulk_changes.run,
    notices.run,
    culler.run,
    cleanup.run,
    retention.run,
    sealing.run,
    service_processes.run,
)
