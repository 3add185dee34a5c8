"""Hosted classes of proxies: their life, their routes, and their failures."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from traitlets.config import Config

from accounts.models import User
from controller.pids import with_variable
from controller.proxy import hosted_proxy
from controller.proxy.client import ProxyClient, ProxyError
from controller.proxy.host_api import HostAPI
from controller.proxy.hosted_proxy import ClassFailed, HostedProxy
from controller.proxy.routes import (
    check_routes,
    proxy,
    publish_server,
    routes_by_spec,
    server_route,
    withdraw_server,
)
from hubsite.process.proxy_process import find_proxy
from hubsite.process.proxy_socket import open_proxy_socket
from tests.controller import proxies
from tests.factories import make_server, make_service
from tests.hubsite.conftest import status_of, wait_until
from tests.ports import free_ports

HostClass = Callable[..., HostedProxy]
pytestmark = pytest.mark.django_db
ODD_NAMES = ["ada@example.org", "a b", "a%2Fb", "naïve", "~a", "a+b&c?d#e", "ä.ö"]


@pytest.fixture
def host(settings: Any, tmp_path: Path) -> Iterator[HostClass]:
    """Host a class, and serve its API as the hub's proxy."""
    settings.DATA_DIR = tmp_path
    settings.PROXY_SOCKET = ""
    settings.PROXY_HOST_SOCKET = str(tmp_path / "run" / "host.sock")
    settings.PROXY_AUTH_TOKEN = "between-hub-and-proxy"
    hosted: list[HostedProxy] = []
    apis: list[HostAPI] = []

    def begin(proxy_class: str | type, *, start: bool = True, **more: Any) -> Any:
        raw = Config(more.pop("raw", {}))
        path = proxy_class
        if isinstance(proxy_class, type):
            raw.JupyterHub.proxy_class = proxy_class
            path = f"{proxy_class.__module__}.{proxy_class.__qualname__}"
        settings.HUB = replace(settings.HUB, proxy_class=path, raw=raw, **more)
        found = HostedProxy(command=find_proxy(""))
        hosted.append(found)
        if start:
            found.start()
            [listener] = open_proxy_socket(settings.PROXY_HOST_SOCKET)
            apis.append(HostAPI(listener, found, settings.PROXY_AUTH_TOKEN))
            threading.Thread(target=apis[-1].serve_forever, daemon=True).start()
        return found

    yield begin
    for api in apis:
        api.shutdown()
        api.server_close()
    for each in hosted:
        each.stop()
        each.loop.call_soon_threadsafe(each.loop.stop)


def named(name: str) -> str:
    return f"tests.controller.proxies.{name}"


# The life of a class


def test_class_is_made_as_jupyterhub_makes_it(host: HostClass) -> None:
    found = host(
        named("InMemory"),
        raw={"InMemory": {"greeting": "hello"}},
        bind_url="https://hub.example.org:8443/x/",
        base_url="/x/",
        ssl_key="a.key",
        ssl_cert="a.crt",
    )
    made = found.proxy

    assert made.greeting == "hello"
    assert made.public_url == "https://hub.example.org:8443/x/"
    assert (made.ssl_key, made.ssl_cert, made.host_routing) == ("a.key", "a.crt", False)
    assert made.hub.routespec == made.app.hub.routespec == "/x/"
    assert made.app.subdomain_host == "" and made.app.internal_ssl is False
    with pytest.raises(AttributeError, match=r"`proxy\.app\.tornado_settings`"):
        made.app.tornado_settings  # noqa: B018
    with pytest.raises(AttributeError, match=r"`proxy\.db` is not available"):
        made.db  # noqa: B018
    found.stop()
    assert made.calls == ["start", "stop"]


def test_class_of_the_configuration_itself_is_hosted(host: HostClass) -> None:
    class Own(proxies.InMemory):
        pass

    assert type(host(Own).proxy) is Own


def test_proxy_of_somebody_else_is_neither_started_nor_stopped(
    host: HostClass,
) -> None:
    found = host(named("External"))
    found.stop()

    assert found.proxy.calls == []


@pytest.mark.parametrize(
    ("name", "says"),
    [("Unstartable", "Unstartable.start: FileNotFoundError"), ("NoProxy", "no Proxy")],
)
def test_class_that_can_not_start_says_why(
    host: HostClass, name: str, says: str
) -> None:
    with pytest.raises(ClassFailed, match=says):
        host(named(name), start=False).start()


def test_settings_without_an_effect_are_named(
    host: HostClass, caplog: pytest.LogCaptureFixture
) -> None:
    class Checking(proxies.InMemory):
        async def check_routes(self, *args: Any, **keywords: Any) -> None:
            """Repair routes in some other way."""

    host(Checking, raw={"ConfigurableHTTPProxy": {"api_url": "http://127.0.0.1:9"}})

    assert "Checking has its own check_routes, which this hub does not call" in (
        caplog.text
    )
    assert "c.ConfigurableHTTPProxy: has no effect; the proxy is a Checking" in (
        caplog.text
    )


# Routes


def test_hub_adds_and_deletes_routes_as_jupyterhub_writes_them(
    host: HostClass, ada: User
) -> None:
    found = host(named("InMemory"))
    server = make_server(ada, "lab", ready=True, url="http://127.0.0.1:9002/user/x/")
    make_service("grader", url="http://127.0.0.1:9003/some/path")
    server.user.name = "a b@x/ä"

    async_to_sync(publish_server)(server)
    assert found.proxy.kept["/user/a%20b@x/%C3%A4/lab/"] == {
        "routespec": "/user/a%20b@x/%C3%A4/lab/",
        "target": "http://127.0.0.1:9002",
        "data": {"user": "a b@x/ä", "server_name": "lab"},
    }
    async_to_sync(withdraw_server)(server)
    assert found.proxy.kept == {}

    check_routes(proxy())
    assert {spec: route["data"] for spec, route in found.proxy.kept.items()} == {
        "/": {"hub": True},
        "/user/ada/lab/": {"user": "ada", "server_name": "lab"},
        "/services/grader/": {"service": "grader"},
    }
    assert routes_by_spec(proxy()) == found.proxy.kept


def test_check_repairs_what_differs_and_leaves_the_rest(
    host: HostClass, ada: User, alan: User, settings: Any
) -> None:
    found = host(named("InMemory"), extra_routes={"/grafana/": "http://127.0.0.1:9"})
    make_server(ada, ready=True, url="http://127.0.0.1:9001/user/ada/")
    make_server(alan, pending="spawn", url="http://127.0.0.1:9009/user/alan/")
    check_routes(proxy())
    kept = found.proxy.kept
    kept["/user/alan/"] = dict(kept["/user/ada/"], routespec="/user/alan/")
    kept["/user/gone/"] = dict(kept["/user/ada/"], routespec="/user/gone/")
    kept["/user/ada/"] = dict(kept["/user/ada/"], target="http://127.0.0.1:1")
    found.proxy.calls.clear()

    check_routes(proxy())

    assert sorted(found.proxy.calls) == [
        *("add /grafana/", "add /user/ada/", "delete /user/gone/")
    ]
    assert kept["/user/ada/"]["target"] == "http://127.0.0.1:9001"
    assert "/user/alan/" in kept


def test_hosts_of_users_come_without_a_slash_before(host: HostClass) -> None:
    found = host(named("InMemory"), subdomain_host="https://hub.example.org")
    proxy().add_route("/ada.hub.example.org/user/ada", "http://127.0.0.1:1", user="ada")
    proxy().add_route("/", "http://127.0.0.1:2", hub=True)

    assert [*found.proxy.kept] == ["ada.hub.example.org/user/ada/", "/"]
    assert set(proxy().routes()) == {"/ada.hub.example.org/user/ada", "/"}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_come_back_as_they_went(host: HostClass, name: str) -> None:
    host(named("InMemory"))
    path = server_route(name, "")
    proxy().add_route(path, "http://127.0.0.1:1", user=name)
    assert set(proxy().routes()) == {path}
    proxy().delete_route(path)
    assert proxy().routes() == {}


def test_only_the_hub_may_change_routes(host: HostClass) -> None:
    found = host(named("InMemory"))
    with pytest.raises(ProxyError, match="another secret"):
        ProxyClient(proxy().api_url, "guessed").add_route("/", "http://127.0.0.1:1")
    assert found.proxy.kept == {}


# Failures


def test_failure_is_said_and_tried_again(
    host: HostClass, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = host(named("Failing"))
    server = make_server(ada, ready=True, url="http://127.0.0.1:9001/user/ada/")
    monkeypatch.setattr(proxies.Failing, "failures", 1)
    with pytest.raises(ProxyError, match="RuntimeError: the balancer is on holiday"):
        proxy().add_route("/user/x", "http://127.0.0.1:1")

    monkeypatch.setattr(proxies.Failing, "failures", 2)
    async_to_sync(publish_server)(server)
    assert "/user/ada/" in found.proxy.kept


def test_class_that_blocks_keeps_nobody_waiting(
    host: HostClass, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = host(named("Blocking"))
    monkeypatch.setattr(proxies.Blocking, "seconds", 1.5)
    monkeypatch.setattr(hosted_proxy, "CALL_TIMEOUT", 0.3)
    began = time.monotonic()
    with pytest.raises(ProxyError, match=r"Blocking.add_route has not returned in 0.3"):
        proxy().add_route("/user/x", "http://127.0.0.1:1")
    assert time.monotonic() - began < 1.2
    assert found.problem() == ""

    monkeypatch.setattr(hosted_proxy, "HUNG", 0.1)
    assert "has blocked its event loop" in found.problem()
    monkeypatch.setattr(proxies.Blocking, "seconds", 0.0)
    monkeypatch.setattr(hosted_proxy, "HUNG", 60.0)
    monkeypatch.setattr(hosted_proxy, "CALL_TIMEOUT", 30.0)
    proxy().add_route("/user/y", "http://127.0.0.1:1")
    assert "/user/y" in proxy().routes()


def test_program_that_fails_is_noticed_and_one_that_is_done_is_not(
    host: HostClass,
) -> None:
    class Starting(proxies.InMemory):
        async def start(self) -> None:
            self.programs = [
                subprocess.Popen(["sh", "-c", "read x; exit $x"], stdin=subprocess.PIPE)
                for _ in range(2)
            ]

        def stop(self) -> None:
            for program in self.programs:
                program.communicate()

    found = host(Starting)
    done, failing = found.proxy.programs
    done.communicate(b"0\n")
    assert found.problem() == ""
    failing.stdin.write(b"7\n")
    failing.stdin.close()
    wait_until(lambda: "(7)" in found.problem(), "the failure is noticed")
    # The class can still ask for the status.
    assert failing.wait() == 7


def test_programs_that_a_class_leaves_are_ended(host: HostClass) -> None:
    class Leaving(proxies.InMemory):
        async def start(self) -> None:
            self.program = subprocess.Popen(["sleep", "600"], start_new_session=True)

    found = host(Leaving)
    assert found.proxy.program.poll() is None
    found.stop()
    assert found.proxy.program.wait(10) == -15


# Classes of others


def test_subclass_of_configurable_http_proxy_restarts_with_all_routes(
    host: HostClass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyterhub.proxy import ConfigurableHTTPProxy

    monkeypatch.chdir(tmp_path)
    port, api_port = free_ports(2)

    class Renaming(ConfigurableHTTPProxy):
        async def add_route(self, routespec: str, target: str, data: Any) -> None:
            await super().add_route(routespec, target, {**data, "renamed": True})

    settings = {
        "api_url": f"http://127.0.0.1:{api_port}",
        "check_running_interval": 1,
        "log_level": "error",
    }
    found = host(
        Renaming,
        raw={"ConfigurableHTTPProxy": settings},
        bind_url=f"http://127.0.0.1:{port}/",
    )
    path = server_route("a b", "")
    proxy().add_route(path, "http://127.0.0.1:9", user="a b", server_name="")
    route = proxy().routes()[path]
    assert route["renamed"] and route["last_activity"]
    first = found.proxy.proxy_process

    first.kill()
    wait_until(
        lambda: (
            found.proxy.proxy_process is not first
            and status_of(f"http://127.0.0.1:{port}/_chp_healthz") == 200
            and path in proxy().routes()
        ),
        "the proxy is back with its routes",
    )
    assert found.problem() == ""
    found.stop()
    # JupyterHub's class goes on to look after a proxy that it has restarted.
    time.sleep(3 * found.proxy.check_running_interval)
    assert [*with_variable(hosted_proxy.VARIABLE, str(tmp_path))] == []


def test_external_configurable_http_proxy_gets_the_secret_of_the_site(
    host: HostClass,
) -> None:
    from jupyterhub.proxy import ConfigurableHTTPProxy

    class Elsewhere(ConfigurableHTTPProxy):
        pass

    found = host(Elsewhere, raw={"Proxy": {"should_start": False}})
    assert not found.proxy.should_start
    assert found.proxy.auth_token == "between-hub-and-proxy"


def test_old_names_of_settings_reach_the_class(host: HostClass) -> None:
    from jupyterhub.proxy import ConfigurableHTTPProxy

    class Elsewhere(ConfigurableHTTPProxy):
        should_start = False

    old = {"proxy_cmd": ["chp"], "debug_proxy": True, "proxy_api_port": 9}
    found = host(
        Elsewhere,
        raw={"JupyterHub": old},
        proxy_command=("chp",),
        proxy_api_url="http://127.0.0.1:9",
    )
    assert found.proxy.command == ["chp"]
    assert found.proxy.log_level == "debug"
    assert found.proxy.api_url == "http://127.0.0.1:9"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[str]:
    """A server that responds to every path."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def traefik(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Return the public address of a Traefik, and the settings of its classes."""
    port, api_port = free_ports(2)
    return f"http://127.0.0.1:{port}", {
        "TraefikProxy": {
            "traefik_api_url": f"http://127.0.0.1:{api_port}",
            "static_config_file": str(tmp_path / "traefik.toml"),
        },
        "TraefikFileProviderProxy": {
            "dynamic_config_file": str(tmp_path / "rules.toml")
        },
    }


def responds(url: str, status: int) -> bool:
    return status_of(url) == status


def try_routes(found: HostedProxy, public: str, target: str) -> None:
    """Add routes of odd names, request them, and delete them."""
    for name in ("ada", "a b", "ä@ö"):
        path = server_route(name, "")
        proxy().add_route(path, target, user=name, server_name="")
        place = f"{public}{found.spec_of(path)}x"
        assert proxy().routes()[path]["user"] == name
        wait_until(partial(responds, place, 200), "it is reached")
        proxy().delete_route(path)
        wait_until(partial(responds, place, 404), "it is gone")
    assert proxy().routes() == {}


@pytest.mark.slow
def test_traefik_with_files(host: HostClass, tmp_path: Path, target: str) -> None:
    public, raw = traefik(tmp_path)
    found = host(
        "jupyterhub_traefik_proxy.fileprovider.TraefikFileProviderProxy",
        raw=raw,
        bind_url=f"{public}/",
    )
    try_routes(found, public, target)
    program = found.proxy.traefik_process
    found.stop()
    assert program.poll() is not None and not (tmp_path / "rules.toml").exists()


@pytest.mark.slow
def test_traefik_with_redis(host: HostClass, tmp_path: Path, target: str) -> None:
    public, raw = traefik(tmp_path)
    [port] = free_ports(1)
    command = [shutil.which("redis-server") or "redis-server", "--port", str(port)]
    redis = subprocess.Popen(
        [*command, "--bind", "127.0.0.1", "--save", ""],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        raw["TraefikRedisProxy"] = {"redis_url": f"redis://127.0.0.1:{port}"}
        found = host(
            "jupyterhub_traefik_proxy.redis.TraefikRedisProxy",
            raw=raw,
            bind_url=f"{public}/",
        )
        try_routes(found, public, target)
        found.stop()
    finally:
        redis.terminate()
        redis.wait(30)
