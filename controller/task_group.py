"""What the leading controller does besides keeping servers.

Each entry is a module's `async def run(controller: Controller) -> None`. It is
started once a controller leads and cancelled when it no longer does; one that fails
is logged and started again after a while, and one that returns is done. See
`reconciler.Controller` for what it may use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from controller import (
    cleanup,
    culler,
    metrics,
    retention,
    routing,
    server_events,
    service_processes,
)

if TYPE_CHECKING:
    from controller.leader import Controller

Background = Callable[["Controller"], Awaitable[None]]

BACKGROUND: tuple[Background, ...] = (
    # First of all, for what the others do is measured.
    metrics.run,
    server_events.run,
    culler.run,
    cleanup.run,
    retention.run,
    service_processes.run,
    routing.run,
)
