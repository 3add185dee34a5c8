"""What the leading controller does besides keeping servers.

Each entry is a module's `async def run(controller: Controller) -> None`. It is
started once a controller leads and cancelled when it no longer does; one that fails
is logged and started again after a while, and one that returns is done. See
`reconciler.Controller` for what it may use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from servers.controller import (
    culler,
    exposition,
    housekeeping,
    programs,
    retention,
    routing,
    server_events,
)

if TYPE_CHECKING:
    from servers.controller.reconciler import Controller

Background = Callable[["Controller"], Awaitable[None]]

BACKGROUND: tuple[Background, ...] = (
    # First of all, for what the others do is measured.
    exposition.run,
    server_events.run,
    culler.run,
    housekeeping.run,
    retention.run,
    programs.run,
    routing.run,
)
