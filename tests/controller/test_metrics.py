"""The controller's measurements, and how monitoring gets them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controller.metrics import Exposition, seconds_since_start
from controller.spawners.failures import SpawnFailed
from controller.spawners.spawn_context import SpawnContext
from servers.metrics import ServerMetrics
from tests.controller.site import Site, until

ADA = SpawnContext(server_id=1, user_id=1, user_name="ada")

Series = tuple[str, ...]


def samples(text: str) -> dict[Series, float]:
    """Read name and values of labels, by their names, to value."""
    return {
        (sample.name, *(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(exposition: Exposition) -> dict[Series, float]:
    exposition.write()
    return samples(exposition.path.read_text())


@pytest.fixture
def exposition(tmp_path: Path) -> Exposition:
    return Exposition(tmp_path / "metrics")


def test_series_are_those_of_jupyterhub() -> None:
    """Its own, read in a process of its own; its words for two states leak an enum."""
    script = "import jupyterhub.metrics, prometheus_client as p;"
    theirs = samples(
        subprocess.run(
            [sys.executable, "-c", f"{script} print(p.generate_latest().decode())"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.replace("ServerPollStatus.", "")
    )
    registry = CollectorRegistry()
    ServerMetrics(registry)
    ours = samples(generate_latest(registry).decode())
    # Gauges come from the database, the others from the web processes.
    elsewhere = ("total_users", "active_users", "running_servers", "csp_reports")
    elsewhere += ("login_duration", "logout_duration", "request_duration")
    expected = {
        series
        for series in theirs
        if series[0].startswith("jupyterhub_")
        and not series[0].removeprefix("jupyterhub_").startswith(elsewhere)
    }

    assert set(ours) == expected
    assert {v for k, v in ours.items() if not k[0].endswith("_created")} == {0}


def test_bounds_and_prefix_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVER_SPAWN_DURATION_SECONDS_BUCKETS", "1, 2")
    monkeypatch.setenv("JUPYTERHUB_METRICS_PREFIX", "campus")
    registry = CollectorRegistry()
    ServerMetrics(registry)

    text = generate_latest(registry).decode()

    name = "campus_server_spawn_duration_seconds_bucket"
    bounds = {key[1] for key in samples(text) if key[0] == name}
    assert bounds == {"1.0", "2.0", "+Inf"}
    assert "jupyterhub" not in text


@pytest.mark.parametrize(
    ("failure", "labels"),
    [
        (SpawnFailed("no such image"), ("", "error")),
        (SpawnFailed("exited", reason="exit"), ("exited", "error")),
        (SpawnFailed("no quota", 403, reason="quota"), ("quota", "failure")),
    ],
)
def test_failures_have_status_and_reason(
    exposition: Exposition, failure: SpawnFailed, labels: tuple[str, str]
) -> None:
    exposition.failed(ADA, failure, 3.0)

    found = told(exposition)
    name = "jupyterhub_server_spawn_duration_seconds"
    assert found[(f"{name}_count", *labels)] == 1
    assert found[(f"{name}_count", "", "success")] == 0
    assert found[(f"{name}_sum", *labels)] == 3


def test_counts_what_happens(exposition: Exposition) -> None:
    exposition.started(ADA, 0.4)
    exposition.stopped(ADA, 0.2, "stop")
    exposition.stopped(ADA, 0.2, "exit")
    exposition.polled(ADA, 0.01, None)
    exposition.polled(ADA, 0.01, 1)
    for succeeded in (True, False):
        exposition.proxied("add", 0.01, succeeded)
        exposition.proxied("check", 0.01, succeeded)

    found = told(exposition)
    for name, count in {
        ("server_spawn_duration_seconds_count", "", "success"): 1,
        ("server_spawn_duration_seconds_bucket", "0.5", "", "success"): 1,
        ("server_stop_seconds_count", "success"): 1,
        ("server_stop_seconds_count", "failure"): 0,
        ("server_poll_duration_seconds_count", "running"): 1,
        ("server_poll_duration_seconds_count", "stopped"): 1,
        ("proxy_add_duration_seconds_count", "success"): 1,
        ("proxy_add_duration_seconds_count", "failure"): 1,
        ("check_routes_duration_seconds_count",): 1,
        ("hub_startup_duration_seconds_count",): 1,
    }.items():
        assert found[(f"jupyterhub_{name[0]}", *name[1:])] == count, name


def test_a_folder_that_can_not_be_written_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics").write_text("a file")
    exposition = Exposition(tmp_path / "metrics")

    exposition.write()
    exposition.write()

    assert len(caplog.records) == 1


def test_returns_the_age_of_the_process() -> None:
    assert 0 < seconds_since_start() < 3600


# A real controller


def test_a_controller_counts_starts_and_stops(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    site.controller(HUB_CONTROLLER_METRICS=f"127.0.0.1:{port}")
    site.start()
    assert site.settled().ready
    site.stop()
    site.settled()
    path = site.folder / "metrics" / "controller.prom"

    stops = ("jupyterhub_server_stop_seconds_count", "success")

    def counted() -> dict[Series, float]:
        found = samples(path.read_text()) if path.exists() else {}
        return found if found.get(stops) else {}

    found = until(counted)
    name = "jupyterhub_server_spawn_duration_seconds_count"
    assert found[(name, "", "success")] == 1
    assert found[("jupyterhub_proxy_add_duration_seconds_count", "success")] >= 1
    assert found[("jupyterhub_init_spawners_duration_seconds_count",)] == 1
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as reply:
        served = samples(reply.read().decode())
    assert served[(name, "", "success")] == 1
    assert served[("process_resident_memory_bytes",)] > 0
