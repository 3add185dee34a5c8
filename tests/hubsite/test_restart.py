"""Notebook servers and their users while the hub restarts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import pytest

from controller.proxy.client import ProxyClient, ProxyError
from tests.hubsite.conftest import RunningHub, status_of, wait_until

SECRET = "a-secret-that-somebody-brought"
TALKER = Path(__file__).with_name("talker.py")
STUB = Path(__file__).parent.parent / "servers" / "stub.py"
NUMBER = re.compile(rb"(?:.*[^0-9])?([0-9]+)", re.DOTALL)

pytestmark = pytest.mark.slow


@pytest.fixture
def site(hub: RunningHub) -> RunningHub:
    """A hub on which Ada may start a server."""
    hub.env["CONFIGPROXY_AUTH_TOKEN"] = "known-to-both"
    hub.declare("c.JupyterHub.authenticator_class = 'dummy'")
    hub.declare("c.Authenticator.allowed_users = {'ada'}")
    hub.declare("c.JupyterHub.spawner_class = 'simple'")
    hub.declare(f"c.Spawner.cmd = [{sys.executable!r}, {str(TALKER)!r}]")
    hub.declare(
        "c.JupyterHub.services = "
        f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
    )
    return hub


@pytest.fixture
def lasting(site: RunningHub) -> RunningHub:
    """One of which servers and proxy run on without it."""
    site.declare("c.JupyterHub.cleanup_servers = False")
    site.declare("c.JupyterHub.cleanup_proxy = False")
    return site


def start_server(hub: RunningHub) -> int:
    """Start Ada's server; return its process."""
    request = Request(
        f"{hub.own_url}api/users/ada/server",
        b"",
        {"Authorization": f"token {SECRET}"},
        method="POST",
    )
    with urlopen(request, timeout=30) as reply:
        assert reply.status in (201, 202)
    answers: list[int] = []

    def is_reached() -> bool:
        answers.append(server_pid(hub))
        return bool(answers[-1])

    wait_until(is_reached, "the server is reached")
    return answers[-1]


def server_pid(hub: RunningHub) -> int:
    """Return the process that answers for Ada through the proxy, or 0."""
    try:
        with urlopen(f"http://127.0.0.1:{hub.port}/user/ada/api", timeout=60) as reply:
            return int(reply.read())
    except (OSError, ValueError):
        return 0


def adopted(hub: RunningHub) -> bool:
    """Tell whether the hub knows Ada's server as running."""
    request = Request(
        f"{hub.own_url}api/users/ada", headers={"Authorization": f"token {SECRET}"}
    )
    with urlopen(request, timeout=60) as reply:
        servers = json.loads(reply.read())["servers"]
    return bool(servers and servers[""]["ready"])


def pending(hub: RunningHub) -> set[str]:
    """Return whose default servers are about to start."""
    return {user["name"] for user in hub.get("api/users", SECRET) if user["pending"]}


def routes(hub: RunningHub) -> set[str]:
    try:
        url = f"http://127.0.0.1:{hub.api_port}"
        return set(ProxyClient(url, "known-to-both").routes())
    except ProxyError:
        return set()


class Listener:
    """Someone who listens to a server, and notices each line that is missing."""

    def __init__(self, hub: RunningHub, way: str) -> None:
        self.lines: list[int] = []
        self.cut = False
        self.connection = socket.create_connection(("127.0.0.1", hub.port), timeout=60)
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
            if way == "socket"
            else ""
        )
        self.connection.sendall(
            f"GET /user/ada/{way} HTTP/1.1\r\nHost: hub\r\n{upgrade}\r\n".encode()
        )
        Thread(target=self.listen, daemon=True).start()
        wait_until(lambda: self.lines, f"{way} talks")

    def listen(self) -> None:
        data = b""
        try:
            while more := self.connection.recv(4096):
                data += more
                *complete, data = data.split(b"\n")
                for line in complete:
                    # What frames a number is no digit, or stands on a line of its own.
                    if found := re.fullmatch(
                        rb"(?:.*[^0-9])?([0-9]+)", line, re.DOTALL
                    ):
                        self.lines.append(int(found[1]))
        except OSError:
            pass
        self.cut = True

    def goes_on(self) -> bool:
        heard = len(self.lines)
        time.sleep(0.5)
        return not self.cut and len(self.lines) > heard


@contextmanager
def asking(hub: RunningHub) -> Iterator[list[int]]:
    """Ask a server for its process all the while; 0 stands for no answer."""
    answers: list[int] = []
    over = False

    def ask() -> None:
        while not over:
            answers.append(server_pid(hub))
            time.sleep(0.05)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over = True
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_cut_off_while_the_hub_restarts(
    lasting: RunningHub, number: int
) -> None:
    lasting.start()
    pid = start_server(lasting)
    proxy = lasting.pids()["proxy"]
    stream, websocket = Listener(lasting, "stream"), Listener(lasting, "socket")
    with asking(lasting) as answers:
        lasting.stop(number)
        wait_until(
            lambda: set(lasting.pids()) == {"proxy", "talker"},
            "servers and proxy run alone",
        )
        time.sleep(1)
        assert status_of(f"{lasting.url}health") != 200
        lasting.start()
        wait_until(lambda: adopted(lasting), "the server is adopted")
        time.sleep(1)
    assert set(answers) == {pid}
    assert stream.goes_on() and websocket.goes_on()
    for listener in (stream, websocket):
        assert listener.lines == list(range(len(listener.lines)))
    assert lasting.pids()["proxy"] == proxy
    assert status_of(f"{lasting.url}health") == 200
    assert routes(lasting) == {"/", "/user/ada"}
    lasting.manage("stop")


def test_remaining_servers_are_reported_and_stopped_by_a_command(
    lasting: RunningHub,
) -> None:
    lasting.start()
    start_server(lasting)
    lasting.stop()
    assert "1 server and the proxy run on" in lasting.said()
    assert f"manage.py stop -f {lasting.config} --data-dir" in lasting.said()
    assert set(lasting.pids()) == {"proxy", "talker"}

    stopped = lasting.manage("stop")

    assert stopped.returncode == 0, stopped.stderr
    assert "All servers have stopped" in stopped.stdout
    assert lasting.pids() == {}
    lasting.start()
    assert not adopted(lasting)
    assert routes(lasting) == {"/"}


def test_the_command_stop_ends_a_hub_and_all_that_belongs_to_it(
    lasting: RunningHub,
) -> None:
    lasting.start()
    start_server(lasting)

    stopped = lasting.manage("stop")

    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: not lasting.pids(), "all has ended")
    assert "Stopping 1 server" in lasting.said()
    assert "adopts" not in lasting.said()
    assert lasting.manage("stop").stdout.startswith("No hub runs")


def test_the_command_stop_keeps_servers_and_proxy_on_request(site: RunningHub) -> None:
    site.start()
    start_server(site)

    assert site.manage("stop", "--keep-servers").returncode == 0

    wait_until(lambda: set(site.pids()) == {"talker"}, "only the server runs")
    site.start()
    wait_until(lambda: adopted(site), "the server is adopted")
    wait_until(lambda: server_pid(site), "it has its route again")


def test_servers_end_with_the_hub_by_default(
    site: RunningHub,
) -> None:
    site.start()
    start_server(site)
    assert site.stop() == 0
    assert site.pids() == {}
    site.env["HUB_KEEP_SERVERS"] = "1"
    site.start()
    start_server(site)
    assert site.stop() == 0
    assert set(site.pids()) == {"talker"}
    assert "1 server runs on" in site.said()


def test_servers_of_a_hub_that_was_killed_are_adopted(site: RunningHub) -> None:
    site.start()
    pid = start_server(site)
    site.stop(signal.SIGKILL)
    wait_until(lambda: set(site.pids()) == {"talker"}, "only the server runs")
    site.start()
    wait_until(lambda: server_pid(site) == pid, "the server is reached again")
    assert site.stop() == 0
    assert site.pids() == {}


def test_a_start_outlives_the_web_process_that_was_asked(site: RunningHub) -> None:
    site.declare(
        """
async def slowly(spawner):
    import asyncio
    await asyncio.sleep(3)

c.Spawner.pre_spawn_hook = slowly
"""
    )
    site.start()
    told: list[int] = []

    def ask() -> None:
        with suppress(OSError, HTTPException):
            told.append(start_server(site))

    asking = Thread(target=ask)
    asking.start()
    wait_until(lambda: "ada" in pending(site), "the start is under way")
    os.kill(site.pids()["web"], signal.SIGKILL)
    asking.join()

    assert told == []
    wait_until(lambda: status_of(f"{site.url}health") == 200, "web is back")
    wait_until(lambda: adopted(site), "the server is ready all the same")
    names = [name for name, _ in site.processes()]
    assert names.count("talker") == 1
    assert server_pid(site) == site.pids()["talker"]
    assert site.stop() == 0
    assert site.pids() == {}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({"servers": False}, {"talker"}),
        ({"proxy": False}, {"proxy"}),
    ],
)
def test_a_shutdown_request_chooses_what_ends(
    site: RunningHub, said: dict[str, bool], left: set[str]
) -> None:
    site.start()
    start_server(site)

    site.call("POST", "api/shutdown", SECRET, said)

    assert site.process and site.process.wait(60) == 0
    assert set(site.pids()) == left
    if said != {"proxy": False}:
        return
    # What was said once is not said for ever.
    site.start()
    assert site.stop() == 0
    assert site.pids() == {}


def test_a_proxy_that_would_end_with_the_hub_stays_on_request(
    site: RunningHub,
) -> None:
    site.start()
    pid = start_server(site)
    said = {"servers": False, "proxy": False}

    site.call("POST", "api/shutdown", SECRET, said)

    assert site.process and site.process.wait(60) == 0
    assert set(site.pids()) == {"talker", "proxy"}
    assert server_pid(site) == pid
    site.start()
    wait_until(lambda: server_pid(site) == pid, "the server is reached again")
    assert site.stop() == 0
    assert site.pids() == {}


def test_a_second_signal_ends_the_wait_for_servers(
    site: RunningHub,
) -> None:
    site.declare(
        f"c.Spawner.cmd = [{sys.executable!r}, {str(STUB)!r}, '--linger', '30']"
    )
    site.start()
    site.call("POST", "api/users/ada/server", SECRET, {})
    assert site.process
    site.process.send_signal(signal.SIGINT)
    wait_until(lambda: "Stopping 1 server" in site.said(), "it is stopping the server")
    begun = time.monotonic()
    assert site.stop(signal.SIGINT) == 0
    assert time.monotonic() - begun < 15
    assert "run on" in site.said()


# The proxy


def test_another_proxy_takes_the_place_of_one_that_was_called_differently(
    lasting: RunningHub,
) -> None:
    lasting.start()
    before = lasting.pids()["proxy"]
    lasting.stop()
    lasting.declare("c.ConfigurableHTTPProxy.log_level = 'debug'")

    lasting.start()

    assert lasting.pids()["proxy"] != before
    assert f"is replaced (process {before})" in lasting.said()
    assert status_of(f"{lasting.url}health") == 200
    lasting.manage("stop")


def test_another_proxy_takes_the_place_of_one_with_another_secret(
    lasting: RunningHub,
) -> None:
    lasting.start()
    before = lasting.pids()["proxy"]
    lasting.stop()
    lasting.env["CONFIGPROXY_AUTH_TOKEN"] = "another"

    lasting.start()

    assert lasting.pids()["proxy"] != before
    assert status_of(f"{lasting.url}health") == 200
    lasting.manage("stop")


def test_a_process_that_got_the_number_of_a_proxy_is_left_alone(
    lasting: RunningHub,
) -> None:
    lasting.data_dir.mkdir(mode=0o700)
    note = {"pid": os.getpid(), "started": "once 1", "command": ["x"]}
    (lasting.data_dir / "proxy.pid").write_text(json.dumps(note))

    lasting.start()

    assert status_of(f"{lasting.url}health") == 200
    assert (lasting.data_dir / "proxy.pid").stat().st_mode & 0o777 == 0o600
    lasting.manage("stop")


@pytest.mark.parametrize("adopt", [False, True])
def test_a_new_proxy_soon_has_all_routes(lasting: RunningHub, adopt: bool) -> None:
    lasting.start()
    pid = start_server(lasting)
    if adopt:
        lasting.stop()
        lasting.start()
        wait_until(lambda: adopted(lasting), "the server is adopted")
    os.kill(lasting.pids()["proxy"], signal.SIGKILL)
    begun = time.monotonic()

    wait_until(lambda: server_pid(lasting) == pid, "the server is reached again")

    # On its own it takes one second. Other tests keep the machine busy, but this is
    # sooner than anybody would look who was not told.
    assert time.monotonic() - begun < 20
    assert routes(lasting) == {"/", "/user/ada"}
    lasting.manage("stop")
