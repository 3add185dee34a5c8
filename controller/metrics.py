"""The controller's metrics.

They are written to a file, and the web processes of the same machine add the file to
their own metrics. A controller on another machine can serve them at its own address.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    generate_latest,
    start_http_server,
)

from controller.pids import beginning
from controller.proxy import client
from controller.spawners.failures import SpawnFailed
from controller.spawners.spawn_context import SpawnContext
from database.backoff import Backoff
from servers.metrics import ServerMetrics
from servers.models import Server

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

FILE = "controller.prom"
# Seconds between two checks for changes, and the least between two files.
INTERVAL = 1.0
AT_LEAST = 15.0
# The resolution of JupyterHub's measure of its event loop: less counts as no delay.
RESOLUTION = 0.05
# JupyterHub's names for our reasons; there is none for other failures.
REASONS = {"error": "", "exit": "exited"}


class Exposition:
    """The metrics of this process, which outlive terms of leadership."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.registry = CollectorRegistry()
        self.metrics = ServerMetrics(self.registry)
        self.changed = True
        self.started_up = False
        self.troubled = False

    def follow(self, term: Term) -> None:
        """Measure one term of leadership."""
        term.on_started.append(self.started)
        term.on_failed.append(self.failed)
        term.on_stopped.append(self.stopped)
        term.on_polled.append(self.polled)

    def started(self, context: SpawnContext, seconds: float) -> None:
        self.metrics.observe_spawn(seconds, "success")
        self.changed = True

    def failed(
        self, context: SpawnContext, failure: SpawnFailed, seconds: float
    ) -> None:
        reason = REASONS.get(failure.reason, failure.reason)
        status = "failure" if failure.refused else "error"
        self.metrics.observe_spawn(seconds, status, reason)
        self.changed = True

    def stopped(self, context: SpawnContext, seconds: float, why: str) -> None:
        if why != "exit":
            self.metrics.stops.labels("success").observe(seconds)
            self.changed = True

    def polled(self, context: SpawnContext, seconds: float, status: int | None) -> None:
        alive = "running" if status is None else "stopped"
        self.metrics.polls.labels(alive).observe(seconds)
        self.changed = True

    def proxied(self, act: str, seconds: float, succeeded: bool) -> None:
        """Count one request to the proxy; called from other threads."""
        self.metrics.observe_proxy(act, seconds, succeeded)
        if act == "check" and succeeded and not self.started_up:
            self.started_up = True
            self.metrics.startup.observe(seconds_since_start())
        self.changed = True

    def write(self) -> None:
        """Replace the whole file at once, so that no reader sees half of it."""
        beside = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
                file.write(generate_latest(self.registry))
            beside.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            if not self.troubled:
                logger.warning("The metrics can't be written: %s", error)
            self.troubled = True
        else:
            self.troubled = False


# Counters of a process are never reset while the process runs.
_exposition: Exposition | None = None


def exposition() -> Exposition:
    """Return the metrics of this process, and measure the proxy from now on."""
    global _exposition
    if _exposition is None:
        _exposition = Exposition(settings.DATA_DIR / "metrics")
        client.request_ended.connect(_exposition.proxied)
        if settings.SITE.controller_metrics:
            _serve(_exposition.registry, settings.SITE.controller_metrics)
    return _exposition


def _serve(registry: CollectorRegistry, address: str) -> None:
    """Serve the metrics over HTTP, besides writing the file."""
    host, _, port = address.rpartition(":")
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    try:
        start_http_server(int(port), host.strip("[]") or "0.0.0.0", registry)  # noqa: S104
    except (OSError, ValueError) as error:
        logger.error("HUB_CONTROLLER_METRICS=%s: %s", address, error)


async def run(term: Term) -> None:
    """Measure this term, and publish the metrics."""
    figures = exposition()
    figures.follow(term)
    await asyncio.gather(_measure_adoption(term, figures), _publish(figures))


async def _measure_adoption(term: Term, figures: Exposition) -> None:
    began = time.monotonic()
    backoff = Backoff(0.05, 2, factor=1.5)
    while await term.ask(_is_checking):
        await backoff.sleep()
    figures.metrics.adoption.observe(time.monotonic() - began)
    figures.changed = True


def _is_checking() -> bool:
    return Server.objects.filter(pending=Server.Pending.CHECK).exists()


async def _publish(figures: Exposition) -> None:
    """Write the file after a change, and measure the delay of the event loop."""
    written = 0.0
    try:
        while True:
            asleep = time.perf_counter()
            await asyncio.sleep(INTERVAL)
            late = max(time.perf_counter() - asleep - INTERVAL, 0)
            figures.metrics.loop.observe(RESOLUTION + late)
            if figures.changed or time.monotonic() - written > AT_LEAST:
                figures.changed = False
                written = time.monotonic()
                await asyncio.to_thread(figures.write)
    finally:
        figures.write()


def seconds_since_start() -> float:
    """Return the age of this process in seconds; 0 if the system has no such figure."""
    try:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        ticks = beginning(os.getpid())
        return 0.0 if ticks is None else max(now - ticks / os.sysconf("SC_CLK_TCK"), 0)
    except (AttributeError, OSError, ValueError):
        return 0.0
