"""Routes of a real proxy: of servers, of odd names, and during changes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.request import urlopen

import pytest
from asgiref.sync import async_to_sync

from accounts.models import User
from controller.proxy import routes
from controller.proxy.client import ProxyClient, ProxyError
from controller.proxy.routes import (
    check_routes,
    publish_server,
    server_route,
    withdraw_server,
)
from hubsite.process.proxy_process import find_proxy
from servers.models import Server
from tests.factories import make_server, make_service, make_user
from tests.hubsite.conftest import status_of, wait_until
from tests.ports import free_ports

SECRET = "between-hub-and-proxy"
ODD_NAMES = [
    "ada",
    "ada@example.org",
    "a b",
    "a%2Fb",
    "naïve",
    "~a",
    "a+b&c?d#e",
    "ä.ö",
]
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def real_proxy() -> Iterator[tuple[str, str]]:
    """Run the proxy; yield its API's address and its public one."""
    port, api_port = free_ports(2)
    process = subprocess.Popen(
        [
            *find_proxy(""),
            *("--ip", "127.0.0.1", "--port", str(port)),
            *("--api-ip", "127.0.0.1", "--api-port", str(api_port)),
            *("--log-level", "error"),
        ],
        env={"CONFIGPROXY_AUTH_TOKEN": SECRET},
    )
    try:
        wait_until(
            lambda: status_of(f"http://127.0.0.1:{port}/_chp_healthz") == 200,
            "the proxy answers",
        )
        yield f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def client(real_proxy: tuple[str, str], settings: Any) -> ProxyClient:
    settings.HUB = replace(settings.HUB, proxy_api_url=real_proxy[0])
    settings.PROXY_AUTH_TOKEN = SECRET
    client = ProxyClient(real_proxy[0], SECRET)
    for path in client.routes():
        client.delete_route(path)
    return client


def running(user: User, name: str = "", port: int = 9001) -> Server:
    return make_server(user, name, ready=True, url=f"http://127.0.0.1:{port}/x/")


def test_ready_servers_have_routes_and_stopped_ones_have_none(
    client: ProxyClient, ada: User, alan: User
) -> None:
    running(ada)
    running(ada, "lab", 9002)
    make_server(alan, url="http://127.0.0.1:9003")
    client.add_route("/user/alan", "http://127.0.0.1:9003", user="alan", server_name="")

    check_routes(client)

    found = client.routes()
    assert set(found) == {"/", "/user/ada", "/user/ada/lab"}
    assert found["/user/ada/lab"]["target"] == "http://127.0.0.1:9002"
    assert found["/user/ada/lab"]["user"] == "ada"
    assert found["/user/ada/lab"]["server_name"] == "lab"


@pytest.mark.parametrize("pending", ["spawn", "stop", "check"])
def test_what_is_undecided_is_left_alone(
    client: ProxyClient, ada: User, alan: User, pending: str
) -> None:
    make_server(ada, pending=pending, url="http://127.0.0.1:9001")
    make_server(alan, pending=pending, url="http://127.0.0.1:9002")
    client.add_route("/user/ada", "http://127.0.0.1:9001", user="ada", server_name="")

    check_routes(client)

    assert set(client.routes()) == {"/", "/user/ada"}


def test_a_route_to_an_older_port_is_replaced(client: ProxyClient, ada: User) -> None:
    running(ada, port=9002)
    client.add_route("/user/ada", "http://127.0.0.1:9001", user="ada", server_name="")

    check_routes(client)

    assert client.routes()["/user/ada"]["target"] == "http://127.0.0.1:9002"


def test_a_second_check_changes_nothing(
    client: ProxyClient, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(ada)
    make_service("portal", url="http://127.0.0.1:9009/below/")
    check_routes(client)
    changed: list[tuple[Any, ...]] = []
    monkeypatch.setattr(client, "add_route", lambda *args, **_: changed.append(args))
    monkeypatch.setattr(client, "delete_route", lambda *args: changed.append(args))

    check_routes(client)

    assert not changed


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_lead_to_their_servers(
    client: ProxyClient, real_proxy: tuple[str, str], name: str, echo: int
) -> None:
    server = running(make_user(name), port=echo)
    named = running(server.user, name, port=echo)

    check_routes(client)
    check_routes(client)

    assert {server_route(name, ""), server_route(name, name), "/"} == set(
        client.routes()
    )
    for each in (server, named):
        with urlopen(f"{real_proxy[1]}{each.path}api", timeout=60) as reply:
            assert reply.read().decode() == f"{each.path}api"
        async_to_sync(withdraw_server)(each)
    assert set(client.routes()) == {"/"}


def test_a_server_that_stops_during_a_check_keeps_no_route(
    client: ProxyClient, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = running(ada)
    add = client.add_route

    def stop_first(path: str, target: str, **data: Any) -> None:
        Server.objects.filter(pk=server.pk).update(ready=False)
        add(path, target, **data)

    monkeypatch.setattr(client, "add_route", stop_first)

    check_routes(client)

    assert set(client.routes()) == {"/"}


def test_a_server_that_starts_during_a_check_keeps_its_route(
    client: ProxyClient, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(ada, url="http://127.0.0.1:9001")
    client.add_route("/user/ada", "http://127.0.0.1:9001", user="ada", server_name="")
    look = routes._wanted
    looks = 0

    def start_after_the_first_look() -> Any:
        nonlocal looks
        found = look()
        looks += 1
        Server.objects.filter(pk=server.pk).update(pending="spawn")
        return found

    monkeypatch.setattr(routes, "_wanted", start_after_the_first_look)

    check_routes(client)

    assert looks == 2
    assert set(client.routes()) == {"/", "/user/ada"}


def test_extra_routes_have_the_targets_of_the_file(
    client: ProxyClient, settings: Any
) -> None:
    settings.HUB = replace(
        settings.HUB, extra_routes={"/more%20of/it/": "http://127.0.0.1:9001/x"}
    )

    check_routes(client)

    extra = client.routes()["/more of/it"]
    assert (extra["target"], extra["extra"]) == ("http://127.0.0.1:9001/x", True)


def test_a_base_url_is_spelt_as_the_proxy_lists_it(
    client: ProxyClient, settings: Any, ada: User
) -> None:
    settings.HUB = replace(settings.HUB, base_url="/a%20campus/")
    running(ada)

    check_routes(client)
    check_routes(client)

    assert set(client.routes()) == {
        "/a campus",
        "/a campus/user/ada",
        "/.well-known/oauth-authorization-server/a campus",
    }


@pytest.mark.django_db(transaction=True)
def test_a_change_waits_for_a_proxy_that_is_away(
    client: ProxyClient,
    ada: User,
    settings: Any,
    real_proxy: tuple[str, str],
) -> None:
    server = running(ada)

    async def publish_while_it_returns() -> None:
        settings.HUB = replace(settings.HUB, proxy_api_url="http://127.0.0.1:1")
        task = asyncio.create_task(publish_server(server))
        await asyncio.sleep(0.3)
        assert not task.done()
        settings.HUB = replace(settings.HUB, proxy_api_url=real_proxy[0])
        await task

    asyncio.run(publish_while_it_returns())

    assert "/user/ada" in client.routes()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_refused_fails_at_once(
    client: ProxyClient, ada: User, settings: Any
) -> None:
    settings.PROXY_AUTH_TOKEN = "another"

    with pytest.raises(ProxyError, match="another secret"):
        asyncio.run(publish_server(running(ada)))


@pytest.mark.django_db(transaction=True)
def test_a_change_that_can_not_be_made_fails_in_the_end(
    client: ProxyClient, ada: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HUB = replace(settings.HUB, proxy_api_url="http://127.0.0.1:1")
    monkeypatch.setattr(routes, "PATIENCE", 0.2)

    with pytest.raises(ProxyError, match="does not answer"):
        asyncio.run(publish_server(running(ada)))


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """Run a program that answers with the path it was asked for."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        log_message: Callable[..., None] = lambda *args: None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()
