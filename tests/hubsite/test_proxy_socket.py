"""Trusted sources of clients' addresses, in a hub with its proxy."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import stat
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from controller.proxy.client import ProxyClient
from hubsite.process.proxy_process import find_proxy
from hubsite.process.proxy_socket import open_proxy_socket
from tests.hubsite.conftest import RunningHub, wait_until

pytestmark = pytest.mark.slow

FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;proto=https;host=evil.example",
}


def visit(url: str, **headers: str) -> Any:
    try:
        return urlopen(Request(url, headers=headers), timeout=30)
    except HTTPError as error:
        return error


def addresses(hub: RunningHub, path: str) -> Iterator[str]:
    """Yield the addresses from which a path was asked for, as the access log has it."""
    log = hub.data_dir / "logs" / "web.log"
    for line in log.read_text().splitlines():
        if line.startswith("{") and (entry := json.loads(line)).get("path") == path:
            yield entry["address"]


@pytest.fixture
def told(hub: RunningHub) -> RunningHub:
    """A hub whose proxy can be asked for its routes."""
    hub.env["CONFIGPROXY_AUTH_TOKEN"] = "known-to-both"
    return hub


def hub_target(hub: RunningHub) -> str:
    client = ProxyClient(f"http://127.0.0.1:{hub.api_port}", "known-to-both")
    return str(client.routes()["/"]["target"])


def test_a_process_of_the_machine_cannot_choose_its_address(told: RunningHub) -> None:
    told.start()
    path = told.data_dir / "run" / "proxy.sock"

    assert hub_target(told).startswith("http+unix://")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    # Node writes once more to a connection that the hub has ended, and takes a failure
    # of that write for a failure of the request.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(
            b"GET /hub/health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.send(b"")

    # As a notebook would: at the hub's own port, and through its proxy.
    for place in (told.own_url, told.url):
        visit(f"{place}forged", **FORGED)
    wait_until(
        lambda: len([*addresses(told, "/hub/forged")]) == 2, "both requests are logged"
    )
    assert {*addresses(told, "/hub/forged")} == {"127.0.0.1"}

    # The scheme that people use is the proxy's word, never that of others.
    https = {"X-Forwarded-Proto": "https"}
    for place, is_secure in ((told.url, True), (told.own_url, False)):
        cookies = visit(f"{place}login", **https).headers.get_all("Set-Cookie")
        assert all(("Secure" in cookie) == is_secure for cookie in cookies)
    # Nothing of the proxy's secrets is told to whom it leads.
    assert "known-to-both" not in (told.data_dir / "logs" / "proxy.log").read_text()


def test_a_proxy_that_cannot_open_the_socket_uses_the_port(told: RunningHub) -> None:
    place = told.data_dir / "run" / "proxy.sock"
    command = shlex.join(find_proxy(""))
    script = told.folder / "elsewhere.sh"
    script.write_text(f'#!/bin/sh\nrm -f "{place}"\nexec {command} "$@"\n')
    script.chmod(0o755)
    told.env["HUB_PROXY_COMMAND"] = str(script)

    told.start()

    assert "HUB_PROXY_SOCKET" in told.said()
    assert hub_target(told) == f"http://127.0.0.1:{told.hub_port}"
    assert visit(f"{told.url}login").status == 200


def test_a_folder_without_unix_sockets_costs_no_start(tmp_path: Any) -> None:
    assert open_proxy_socket("") == []
    # A file stands where the folder should be.
    (tmp_path / "run").write_text("")

    assert open_proxy_socket(str(tmp_path / "run" / "proxy.sock")) == []


def test_what_an_earlier_hub_left_is_replaced(tmp_path: Any) -> None:
    place = tmp_path / "run" / "proxy.sock"
    for _ in range(2):
        (listener,) = open_proxy_socket(str(place))
        assert place.is_socket()
        listener.close()
    shutil.rmtree(place.parent)
