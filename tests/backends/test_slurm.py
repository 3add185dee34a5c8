"""Servers as jobs of a cluster with three nodes."""

from __future__ import annotations

import threading

import pytest

from tests.backends.hub import Hub
from tests.backends.machine import processes, wait_until
from tests.backends.sites import Site
from tests.backends.slurm import NODES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("backends"),
    pytest.mark.parametrize("site", ["slurm"], indirect=True),
]


def nodes_in_use(site: Site) -> list[str]:
    lines = site.backend.command("squeue", "-h", "-t", "RUNNING", "-o", "%N")
    return sorted(lines.split())


def test_every_node_serves_and_a_job_that_ends_ends_its_server(
    hub: Hub, site: Site
) -> None:
    place = f"users/{site.user}/servers"
    names = [f"stub-on-{node}" for node in NODES]

    # Each job chooses a port on its node and reports it.
    for name in names:
        hub.api("POST", f"{place}/{name}")
    for name in names:
        hub.wait_until_ready(name)
        assert hub.visit(hub.operator, "api", name) == 200
    assert nodes_in_use(site) == list(NODES)

    # Whoever asks for a server whose job is gone hears so at once.
    first, *others = names
    jobs = site.backend.command("squeue", "-h", "-w", NODES[0], "-o", "%i").split()
    site.backend.command("scancel", *jobs)
    wait_until(lambda: len(site.running()) == 2, "the job is gone")
    status, _ = hub.api("DELETE", f"{place}/{first}")
    assert status in (202, 204)
    hub.wait_until_stopped(first)
    assert nodes_in_use(site) == list(NODES[1:])
    for name in others:
        assert hub.visit(hub.operator, "api", name) == 200


def test_a_submission_that_outlives_its_controller_leaves_no_job(
    hub: Hub, site: Site
) -> None:
    place = f"users/{site.user}/servers/stub-late"
    threading.Thread(target=hub.api, args=("POST", place), daemon=True).start()
    wait_until(
        lambda: (found := hub.attempt("stub-late")) and processes(HUB_ATTEMPT=found),
        "the job is being submitted",
        hub.logs,
    )
    lost = hub.attempt("stub-late")

    hub.kill_controller()
    assert site.running() == set()
    hub.start_controller()

    hub.wait_until_ready("stub-late")
    assert hub.attempt("stub-late") != lost
    assert len(site.running()) == 1
    assert hub.visit(hub.operator, "api", "stub-late") == 200


def test_a_job_that_waits_is_seen_to_wait_and_can_be_cancelled(
    hub: Hub, site: Site
) -> None:
    place = f"users/{site.user}/servers/stub-on-n1"
    site.backend.command("scontrol", "update", "node=n1", "state=drain", "reason=test")
    try:
        assert hub.api("POST", place)[0] == 202
        wait_until(lambda: site.running(), "the job is submitted", hub.logs)
        wait_until(
            lambda: "Pending in queue" in hub.events("stub-on-n1"),
            "the progress tells of the queue",
            hub.logs,
        )

        assert hub.api("DELETE", place)[0] in (202, 204)
        hub.wait_until_stopped("stub-on-n1")

        assert site.running() == set()
    finally:
        site.backend.command("scontrol", "update", "node=n1", "state=resume")


def test_a_job_does_not_count_as_ended_while_slurm_does_not_respond(
    hub: Hub, site: Site
) -> None:
    hub.api("POST", f"users/{site.user}/servers/stub")
    hub.wait_until_ready("stub")
    before = site.running()

    hub.kill_controller()
    with site.backend.without_munge():
        hub.start_controller()
        hub.wait_until_ready("stub")
        assert hub.visit(hub.operator, "api", "stub") == 200

    assert site.running() == before
    assert hub.server("stub")["ready"]
