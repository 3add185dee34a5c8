"""Metrics of servers and of the proxy, under JupyterHub's names.

The controller measures most of them; web processes add the starts that they refuse and
their own requests to the proxy. Both make a `ServerMetrics` with their own registry,
and `hubsite.metrics` adds up the two.

Modules that are imported with Django's models must not import this one, because the
metrics library decides at import whether several processes share their figures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

SPAWN_BUCKETS = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 180, 300, 600)
LOOP_BUCKETS = (
    *(0.05, 0.055, 0.06, 0.065, 0.07, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5),
    *(7.5, 10),
)
# The reason of a spawner must be one word; a sentence counts as unknown.
REASON_LENGTH = 64


def prefix() -> str:
    """Return the prefix of all names."""
    return os.environ.get("JUPYTERHUB_METRICS_PREFIX", "jupyterhub")


def buckets(variable: str, usual: Sequence[float]) -> Sequence[float]:
    """Return the buckets of a histogram, which the environment may set."""
    given = os.environ.get(variable, "").strip()
    return [float(bound) for bound in given.split(",")] if given else usual


class ServerMetrics:
    """The metrics of one process.

    Each foreseeable series exists from the start, because an alert on a rate would
    otherwise miss the first failure.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(
            name: str, words: str, labels: Sequence[str] = (), **options: Any
        ) -> Histogram:
            return Histogram(
                f"{prefix()}_{name}", words, labels, registry=registry, **options
            )

        self.spawns = histogram(
            "server_spawn_duration_seconds",
            "Time taken to start servers, until they are ready or have failed",
            ("status", "reason"),
            buckets=buckets(
                "JUPYTERHUB_SERVER_SPAWN_DURATION_SECONDS_BUCKETS", SPAWN_BUCKETS
            ),
        )
        self.stops = histogram(
            "server_stop_seconds",
            "Time taken to stop servers",
            ("status",),
            buckets=buckets(
                "JUPYTERHUB_SERVER_STOP_DURATION_SECONDS_BUCKETS",
                Histogram.DEFAULT_BUCKETS,
            ),
        )
        self.polls = histogram(
            "server_poll_duration_seconds",
            "Time taken to ask spawners whether servers run",
            ("status",),
        )
        self.adoption = histogram(
            "init_spawners_duration_seconds",
            "Time taken to find out which servers run when a controller takes over",
        )
        self.startup = histogram(
            "hub_startup_duration_seconds",
            "Time from a controller's start until it leads and the proxy is up to date",
        )
        self.loop = histogram(
            "event_loop_interval_seconds",
            "How late the controller's event loop was, on top of 50 ms",
            buckets=LOOP_BUCKETS,
        )
        self.proxy: Mapping[str, Histogram] = {
            "add": histogram(
                "proxy_add_duration_seconds",
                "Time taken to add routes to the proxy",
                ("status",),
            ),
            "delete": histogram(
                "proxy_delete_duration_seconds",
                "Time taken to remove routes from the proxy",
                ("status",),
            ),
            "poll": histogram(
                "proxy_poll_duration_seconds",
                "Time taken to read all routes of the proxy",
            ),
            "check": histogram(
                "check_routes_duration_seconds",
                "Time taken to compare all routes of the proxy with the servers",
            ),
        }
        for status, reason in (
            *(("success", ""), ("failure", ""), ("error", "")),
            *(("failure", "throttled"), ("failure", "too-many-users")),
            ("failure", "already-pending"),
        ):
            self.spawns.labels(status, reason)
        for labelled in (self.stops, self.proxy["add"], self.proxy["delete"]):
            for status in ("success", "failure"):
                labelled.labels(status)
        for status in ("running", "stopped"):
            self.polls.labels(status)

    def observe_spawn(self, seconds: float, status: str, reason: str = "") -> None:
        """Count a start that has ended, or was refused."""
        self.spawns.labels(status, reason[:REASON_LENGTH]).observe(seconds)

    def observe_refusal(self, reason: str) -> None:
        """Count a start that a limit refused."""
        self.observe_spawn(0, "failure", reason)

    def observe_proxy(self, act: str, seconds: float, succeeded: bool) -> None:
        """Count one request to the proxy; without a status, only successes."""
        family = self.proxy[act]
        if act in ("add", "delete"):
            family = family.labels("success" if succeeded else "failure")
        elif not succeeded:
            return
        family.observe(seconds)
