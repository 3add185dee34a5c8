"""A whole hub whose proxy is of a class in its configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.hubsite.conftest import ROOT, RunningHub, status_of, wait_until
from tests.ports import free_ports

SECRET = "a-secret-that-somebody-brought"
TALKER = Path(__file__).with_name("talker.py")

pytestmark = pytest.mark.slow

# An operator's own class: configurable-http-proxy, with a note of what it was told.
NOTING = """
from jupyterhub.proxy import ConfigurableHTTPProxy

class Noting(ConfigurableHTTPProxy):
    async def add_route(self, routespec, target, data):
        if data.get('user') == 'nobody':
            raise RuntimeError('not this one')
        await super().add_route(routespec, target, {**data, 'noted': True})

c.JupyterHub.proxy_class = Noting
c.Noting.pid_file = 'noting.pid'
"""


@pytest.fixture
def site(hub: RunningHub) -> RunningHub:
    """A hub on which users may start servers."""
    hub.declare("c.JupyterHub.authenticator_class = 'dummy'")
    hub.declare("c.Authenticator.allowed_users = {'ada', 'nobody'}")
    hub.declare("c.JupyterHub.spawner_class = 'simple'")
    hub.declare(f"c.Spawner.cmd = [{sys.executable!r}, {str(TALKER)!r}]")
    hub.declare(
        "c.JupyterHub.services = "
        f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
    )
    return hub


@pytest.fixture
def noting(site: RunningHub) -> RunningHub:
    site.declare(NOTING)
    return site


@pytest.fixture
def traefik(site: RunningHub) -> RunningHub:
    [api_port] = free_ports(1)
    site.declare("c.JupyterHub.proxy_class = 'traefik_file'")
    site.declare(f"c.TraefikProxy.traefik_api_url = 'http://127.0.0.1:{api_port}'")
    return site


def is_reached(hub: RunningHub) -> bool:
    """Return whether Ada's server responds through the proxy, with its process id."""
    try:
        with urlopen(f"http://127.0.0.1:{hub.port}/user/ada/api", timeout=60) as reply:
            return reply.read().isdigit()
    except OSError:
        return False


def start_server(hub: RunningHub) -> None:
    hub.call("POST", "api/users/ada/server", SECRET, {})
    wait_until(lambda: is_reached(hub), "the server is reached")


def programs(hub: RunningHub, name: str) -> list[int]:
    """Return the processes of a program that the proxy's class has started."""
    mark = f"HUB_PROXY_OF={hub.data_dir}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in environ and name.encode() in command:
            found.append(int(entry.name))
    return found


def replaced(hub: RunningHub, name: str, before: list[int]) -> Callable[[], bool]:
    """Return whether one other process serves, with the route of Ada's server."""
    return lambda: (
        len(now := programs(hub, name)) == 1 and now != before and is_reached(hub)
    )


def test_traefik_serves_a_hub(traefik: RunningHub) -> None:
    traefik.start()
    start_server(traefik)

    routes = traefik.get("api/proxy", SECRET)
    assert set(routes) == {"/", "/user/ada/"}
    assert routes["/user/ada/"]["data"] == {"user": "ada", "server_name": ""}
    assert status_of(f"{traefik.url}login") == 200

    # Another controller leads, and goes on with the same proxy.
    before = programs(traefik, "traefik")
    controller = traefik.pids()["controller"]
    os.kill(controller, signal.SIGKILL)
    wait_until(
        lambda: traefik.pids().get("controller", controller) != controller,
        "there is another controller",
    )
    traefik.call("DELETE", "api/users/ada/server", SECRET, {})
    wait_until(lambda: not is_reached(traefik), "its route is gone")
    start_server(traefik)
    traefik.call("POST", "api/proxy", SECRET, {})
    assert set(traefik.get("api/proxy", SECRET)) == {"/", "/user/ada/"}
    assert programs(traefik, "traefik") == before

    # Whatever dies, there is one proxy with all routes afterwards.
    os.kill(before[0], signal.SIGKILL)
    wait_until(replaced(traefik, "traefik", before), "another one serves")
    before = programs(traefik, "traefik")
    os.kill(traefik.pids()["proxy"], signal.SIGKILL)
    wait_until(replaced(traefik, "traefik", before), "another one serves")

    assert traefik.stop() == 0
    assert programs(traefik, "traefik") == [] and traefik.pids() == {}


def test_class_of_the_configuration_serves_a_hub(noting: RunningHub) -> None:
    noting.start()
    start_server(noting)

    routes = noting.get("api/proxy", SECRET)
    assert all(route["data"]["noted"] for route in routes.values())
    assert routes["/user/ada/"]["data"]["last_activity"]

    # A server without a route is not called ready, and the others go on.
    noting.call("POST", "api/users/nobody/server", SECRET, {})
    wait_until(lambda: "not this one" in noting.said(), "the failure is said")
    assert not noting.get("api/users/nobody", SECRET)["servers"][""]["ready"]
    assert is_reached(noting)
    before = programs(noting, "--api-port")
    os.kill(before[0], signal.SIGKILL)
    wait_until(replaced(noting, "--api-port", before), "the class restarts it")

    # Nothing outlives a hub that is killed, except servers.
    noting.stop(signal.SIGKILL)
    wait_until(lambda: not programs(noting, "--api-port"), "the proxy is gone")
    wait_until(lambda: "proxy" not in noting.pids(), "its host is gone")


def test_class_runs_without_the_supervisor(noting: RunningHub) -> None:
    noting.start("web", "--prepare")
    places = ("-f", str(noting.config), "--data-dir", str(noting.data_dir))
    host = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "proxy", *places],
        env=noting.env,
        cwd=noting.folder,
    )
    try:
        wait_until(lambda: status_of(f"{noting.url}login") == 200, "the hub is reached")
        assert set(noting.get("api/proxy", SECRET)) == {"/"}
    finally:
        host.terminate()
        assert host.wait(60) == 0
    assert programs(noting, "--api-port") == []


def test_proxy_that_outlives_the_hub_is_replaced_by_the_next(
    noting: RunningHub,
) -> None:
    noting.declare("c.JupyterHub.cleanup_servers = False")
    noting.declare("c.JupyterHub.cleanup_proxy = False")
    noting.start()
    start_server(noting)
    before = programs(noting, "--api-port")
    assert noting.stop() == 0
    assert is_reached(noting) and programs(noting, "--api-port") == before

    noting.start()
    wait_until(replaced(noting, "--api-port", before), "the next one serves")
    assert noting.manage("stop").returncode == 0
    assert programs(noting, "--api-port") == [] and noting.pids() == {}


def test_class_that_can_not_start_ends_the_start_with_its_reason(
    noting: RunningHub,
) -> None:
    noting.declare("c.ConfigurableHTTPProxy.command = ['no-such-program']")
    ended = noting.manage("hub")
    assert ended.returncode == 1
    assert "Noting.start: FileNotFoundError" in ended.stderr
    assert noting.pids() == {}
