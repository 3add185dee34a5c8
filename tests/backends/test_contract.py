"""The promises of a hub about its servers, tested with every backend.

All parts are real, except the stand-ins of the backends: the controller is a process
that is killed, the proxy is configurable-http-proxy, and the server is
`jupyterhub-singleuser`.
"""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.backends.hub import Hub
from tests.backends.machine import wait_until
from tests.backends.sites import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("backends")]

# A server of which a start is interrupted.
LOST = "stub-slow"


# Spawners see nothing of the database; on the second one, two are enough.
BACKENDS = (
    ("simple", "slurm")
    if "HUB_DATABASE_URL" in os.environ
    else ("local", "simple", "slurm", "docker", "kubernetes")
)


@pytest.mark.parametrize("site", BACKENDS, indirect=True)
def test_servers_outlive_their_controller_and_none_is_started_twice(
    hub: Hub, site: Site
) -> None:
    place = f"users/{site.user}"

    # It starts, and is reached through the proxy by those who may.
    status, _ = hub.api("POST", f"{place}/server")
    assert status in (201, 202)
    hub.wait_until_ready()
    first = site.running()
    assert len(first) == 1
    assert hub.visit(hub.operator) == 200
    assert hub.visit(hub.stranger) == 403

    # It goes on without controller, and the next one adopts it.
    hub.kill_controller()
    assert hub.visit(hub.operator) == 200
    hub.start_controller()
    hub.wait_until_ready()
    assert site.running() == first
    assert hub.visit(hub.operator) == 200

    # A controller dies after a start has had its effect, and before it is stored.
    asking = threading.Thread(
        target=hub.api, args=("POST", f"{place}/servers/{LOST}"), daemon=True
    )
    asking.start()
    wait_until(lambda: hub.attempt(LOST), "the start is committed to", hub.logs)
    with hub.writes_held_up():
        wait_until(lambda: len(site.running()) == 2, "the start has effect", hub.logs)
        hub.kill_controller()
    # All that is known is that it was tried.
    assert column(hub, "url") == ""
    assert column(hub, "state") in ("", "{}")
    lost = hub.attempt(LOST)
    hub.start_controller()
    hub.wait_until_ready(LOST)
    hub.wait_until_ready()
    assert hub.attempt(LOST) != lost
    running = site.running()
    assert first < running
    assert len(running) == 2
    assert hub.visit(hub.operator, "api", LOST) == 200
    asking.join(30)

    # Both are stopped, and nothing is left.
    for server in ("server", f"servers/{LOST}"):
        status, _ = hub.api("DELETE", f"{place}/{server}")
        assert status in (202, 204)
    hub.wait_until_stopped()
    hub.wait_until_stopped(LOST)
    assert hub.routes() == set()
    assert site.running() == set()
    # Nothing starts by itself later on.
    time.sleep(1)
    assert site.running() == set()


def column(hub: Hub, name: str) -> str:
    """Return what is stored of the server whose start is interrupted."""
    found = hub.read(f"SELECT {name} FROM servers_server WHERE name = '{LOST}'")
    return str(found or "")
