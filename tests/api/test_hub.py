"""/, /info, /health, /proxy, /shutdown and /authorizations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest

from accounts.models import User
from controller.proxy.announced_proxy import announced_proxy
from servers.models import AnnouncedProxy
from services.models import Service
from tests.conftest import API
from tests.factories import make_service, make_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(ada: User, bearer: Any) -> Any:
    return bearer(make_token(ada)[1])


# The hub itself


@pytest.mark.parametrize("path", [API, f"{API}/"])
@pytest.mark.parametrize("secret", [None, "no-such-token"])
def test_the_version_is_for_everybody(
    bearer: Any, path: str, secret: str | None
) -> None:
    reply = bearer(secret).get(path)

    assert reply.status_code == 200
    assert reply.json() == {"version": "6.1.1"}
    assert reply["Access-Control-Allow-Origin"] == "*"
    assert bearer(secret).head(path).status_code == 405


def test_details_name_classes_and_versions(admin: Any) -> None:
    info = admin.get(f"{API}/info").json()

    assert set(info) == {
        "version",
        "python",
        "sys_executable",
        "spawner",
        "authenticator",
    }
    assert info["spawner"] == {
        "class": "jupyterhub.spawner.SimpleLocalProcessSpawner",
        "version": "6.1.1",
    }


@pytest.mark.parametrize("path", ["/hub/health", f"{API}/health"])
def test_health_is_for_everybody(
    bearer: Any, path: str, django_assert_num_queries: Any
) -> None:
    client = bearer(None)

    with django_assert_num_queries(0):
        for method in (client.get, client.head):
            reply = method(path)
            assert (reply.status_code, reply.content) == (200, b"")
            assert reply["Content-Type"] == "text/html"
    assert client.post(path).status_code == 405


# The proxy


class FakeProxy(BaseHTTPRequestHandler):
    """The REST API of configurable-http-proxy, with its routes in memory."""

    routes: ClassVar[dict[str, dict[str, Any]]] = {}
    secret = "proxy-secret"

    def handle_one(self) -> None:
        if self.headers["Authorization"] != f"token {self.secret}":
            self.answer(403)
            return
        path = unquote(self.path.removeprefix("/api/routes")).rstrip("/") or "/"
        if self.command == "GET":
            self.answer(200, self.routes)
        elif self.command == "POST":
            length = int(self.headers["Content-Length"])
            self.routes[path] = {
                **json.loads(self.rfile.read(length)),
                "last_activity": "2026-01-01T00:00:00.000Z",
            }
            self.answer(201)
        else:
            self.answer(204 if self.routes.pop(path, None) else 404)

    do_GET = do_POST = do_DELETE = handle_one

    def answer(self, status: int, data: Any = None) -> None:
        body = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def proxy(settings: Any) -> Iterator[type[FakeProxy]]:
    FakeProxy.routes.clear()
    server = HTTPServer(("127.0.0.1", 0), FakeProxy)
    Thread(target=server.serve_forever, daemon=True).start()
    settings.HUB = replace(
        settings.HUB, proxy_api_url=f"http://127.0.0.1:{server.server_port}"
    )
    settings.PROXY_AUTH_TOKEN = FakeProxy.secret
    yield FakeProxy
    server.shutdown()
    server.server_close()


def test_checking_routes_adds_what_lacks_and_removes_what_is_past(
    admin: Any, proxy: type[FakeProxy]
) -> None:
    make_service("por tal", url="http://127.0.0.1:9000/")
    proxy.routes.update(
        {
            "/user/alan": {"target": "http://127.0.0.1:1", "jupyterhub": True},
            "/other": {"target": "http://127.0.0.1:2"},
            "/": {"target": "http://127.0.0.1:3", "jupyterhub": True, "hub": True},
        }
    )

    reply = admin.post(f"{API}/proxy")

    assert (reply.status_code, reply.content) == (200, b"")
    assert set(proxy.routes) == {"/", "/other", "/services/por tal"}
    assert proxy.routes["/"]["target"] == "http://127.0.0.1:8081"
    assert proxy.routes["/services/por tal"]["service"] == "por tal"


def test_shows_the_routes_that_are_the_hubs(admin: Any, proxy: type[FakeProxy]) -> None:
    make_service("por tal", url="http://127.0.0.1:9000/")
    proxy.routes["/other"] = {"target": "http://127.0.0.1:2"}
    admin.post(f"{API}/proxy")

    routes = admin.get(f"{API}/proxy").json()
    page = admin.get(
        f"{API}/proxy?limit=1",
        headers={"accept": "application/jupyterhub-pagination+json"},
    ).json()

    assert routes == {
        "/": {
            "routespec": "/",
            "target": "http://127.0.0.1:8081",
            "data": {"hub": True, "last_activity": "2026-01-01T00:00:00.000Z"},
        },
        "/services/por%20tal/": {
            "routespec": "/services/por%20tal/",
            "target": "http://127.0.0.1:9000",
            "data": {
                "service": "por tal",
                "last_activity": "2026-01-01T00:00:00.000Z",
            },
        },
    }
    assert list(page["items"]) == ["/"]
    assert page["_pagination"]["total"] == 2
    assert page["_pagination"]["next"]["offset"] == 1


def test_a_proxy_that_announces_itself_is_filled(
    admin: Any, proxy: type[FakeProxy], settings: Any
) -> None:
    address = settings.HUB.proxy_api_url
    settings.HUB = replace(settings.HUB, proxy_api_url="http://127.0.0.1:1")
    settings.PROXY_AUTH_TOKEN = ""

    reply = admin.patch(
        f"{API}/proxy",
        {"api_url": address, "auth_token": proxy.secret},
        content_type="application/json",
    )

    assert reply.status_code == 200
    assert set(proxy.routes) == {"/"}
    # From then on it is the proxy, for every process.
    proxy.routes.clear()
    assert admin.post(f"{API}/proxy").status_code == 200
    assert set(proxy.routes) == {"/"}
    kept = AnnouncedProxy.objects.get()
    assert kept.api_url == address
    assert proxy.secret not in str(vars(kept))
    # Whoever configures another address afterwards has the last word.
    settings.HUB = replace(settings.HUB, proxy_api_url="http://127.0.0.1:2")
    assert admin.post(f"{API}/proxy").status_code == 503


def test_a_proxy_that_does_not_answer_takes_nobodys_place(
    admin: Any, proxy: type[FakeProxy]
) -> None:
    reply = admin.patch(
        f"{API}/proxy",
        {"api_url": "http://127.0.0.1:1", "auth_token": proxy.secret},
        content_type="application/json",
    )

    assert reply.status_code == 503
    assert not AnnouncedProxy.objects.exists()
    assert admin.post(f"{API}/proxy").status_code == 200


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str]]]:
    """Listen at an address of somebody else, and keep each secret that is sent."""
    heard: list[str] = []

    class Stranger(FakeProxy):
        def do_GET(self) -> None:
            heard.append(str(self.headers["Authorization"]))
            self.answer(200, {})

        do_POST = do_DELETE = do_GET

    server = HTTPServer(("127.0.0.1", 0), Stranger)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("token", [{}, {"auth_token": ""}, {"auth_token": None}])
@pytest.mark.parametrize("is_announced", [False, True])
def test_the_hubs_secret_is_sent_to_no_address_that_a_request_names(
    admin: Any,
    proxy: type[FakeProxy],
    stranger: Any,
    token: dict[str, Any],
    is_announced: bool,
) -> None:
    address, heard = stranger
    if is_announced:
        body = {"auth_token": proxy.secret}
        admin.patch(f"{API}/proxy", body, content_type="application/json")

    reply = admin.patch(
        f"{API}/proxy", {"api_url": address, **token}, content_type="application/json"
    )

    assert reply.status_code == 400
    assert "auth_token" in reply.json()["message"]
    assert not heard
    assert AnnouncedProxy.objects.exists() is is_announced


def test_the_known_proxy_may_be_named_without_its_secret(
    admin: Any, proxy: type[FakeProxy], settings: Any
) -> None:
    reply = admin.patch(
        f"{API}/proxy",
        {"api_url": f"{settings.HUB.proxy_api_url}/", "auth_token": ""},
        content_type="application/json",
    )

    assert reply.status_code == 200


def test_an_announcement_under_a_lost_key_is_no_longer_known(
    admin: Any, proxy: type[FakeProxy], settings: Any
) -> None:
    body = {"auth_token": proxy.secret}
    admin.patch(f"{API}/proxy", body, content_type="application/json")

    settings.SECRET_KEY = "another"

    assert announced_proxy() is None


def test_the_proxy_learns_of_services_as_they_come_and_go(
    admin: Any, proxy: type[FakeProxy]
) -> None:
    admin.post(f"{API}/services/por%20tal", {"url": "http://127.0.0.1:9000"})
    admin.post(f"{API}/services/plain", {"info": {}})

    assert proxy.routes["/services/por tal"]["target"] == "http://127.0.0.1:9000"
    assert len(proxy.routes) == 1
    admin.delete(f"{API}/services/por%20tal")
    assert not proxy.routes


def test_services_come_without_the_proxy(admin: Any, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, proxy_api_url="http://127.0.0.1:1")

    reply = admin.post(f"{API}/services/portal", {"url": "http://127.0.0.1:9000"})

    assert reply.status_code == 201
    assert admin.delete(f"{API}/services/portal").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        *("", "[]", "{", '"text"', '{"api_url": 3}', '{"api_url": "file:///x"}'),
        *('{"api_url": "http://["}', '{"api_url": "http://proxy:99999999"}'),
        *('{"api_url": "http://"}', '{"auth_token": "a\\r\\nHost: b"}'),
        '{"auth_token": "\\u202e"}',
    ],
)
def test_refuses_announcements_that_make_no_sense(
    admin: Any, proxy: type[FakeProxy], body: str
) -> None:
    reply = admin.patch(f"{API}/proxy", body, content_type="application/json")

    assert reply.status_code == 400
    assert not proxy.routes


@pytest.mark.parametrize("routes", [[], {"/": 3}, {"/": {"jupyterhub": True}}, None])
def test_an_address_without_a_proxy_is_reported(
    admin: Any, proxy: type[FakeProxy], monkeypatch: Any, routes: Any
) -> None:
    monkeypatch.setattr(proxy, "routes", routes)

    reply = admin.get(f"{API}/proxy")

    assert reply.status_code == 503
    assert "is no proxy of a hub" in reply.json()["message"]


def test_reports_that_the_proxy_has_ended(admin: Any, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, proxy_api_url="http://127.0.0.1:1")

    reply = admin.get(f"{API}/proxy")

    assert reply.status_code == 503
    assert "does not answer" in reply.json()["message"]


# The end


@pytest.mark.parametrize(
    "body",
    [
        *('{"proxy": "yes"}', '{"servers": 1}', "[]", "{", '"now"'),
        *('{"proxy": null}', '{"servers": null}', '{"proxy": 0, "servers": true}'),
    ],
)
def test_a_refused_end_ends_nothing(
    admin: Any, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever would be told to end is named, and is nobody who could.
    monkeypatch.setenv("HUB_SUPERVISOR_PID", "not-a-process")

    reply = admin.post(f"{API}/shutdown", body)

    assert reply.status_code == 400


def test_reports_that_nothing_can_stop_the_hub(
    admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUB_SUPERVISOR_PID", raising=False)

    assert admin.post(f"{API}/shutdown").status_code == 503


# Who was asking, in former times


def test_a_token_shows_the_owner_of_another(
    admin: Any, alan: User, ci: Service
) -> None:
    of_alan = admin.get(f"{API}/authorizations/token/{make_token(alan)[1]}")
    of_ci = admin.get(f"{API}/authorizations/token/{make_token(ci)[1]}")

    assert of_alan.json()["name"] == "alan"
    assert of_alan.json()["groups"] == ["data301"]
    assert of_ci.json()["kind"] == "service"
    assert of_ci.json()["url"] is None


def test_few_scopes_show_few_keys(alan: User, mallory: User, bearer: Any) -> None:
    client = bearer(make_token(mallory)[1])

    reply = client.get(f"{API}/authorizations/token/{make_token(alan)[1]}")

    assert set(reply.json()) == {"kind", "name", "admin", "user_info", "groups"}


def test_unknown_tokens_are_nobodys(admin: Any, bearer: Any, alan: User) -> None:
    _, secret = make_token(alan)

    assert admin.get(f"{API}/authorizations/token/none").status_code == 404
    assert admin.get(f"{API}/authorizations/token").status_code == 404
    assert admin.post(f"{API}/authorizations/token").status_code == 404
    assert bearer(None).get(f"{API}/authorizations/token/{secret}").status_code == 403


def test_a_token_shows_the_user_of_a_session(
    admin: Any, alan: User, as_: Any, bearer: Any
) -> None:
    browser = as_(alan)
    cookie = browser.cookies["jupyterhub-hub-login"].value
    path = f"{API}/authorizations/cookie/jupyterhub-hub-login"

    assert admin.get(f"{path}/{cookie}").json()["name"] == "alan"
    assert admin.get(f"{path}/none").status_code == 404
    assert admin.get(path).status_code == 404
    for body in (cookie, f'"{cookie}"'):
        found = admin.generic("GET", path, body, content_type="text/plain")
        assert found.json()["name"] == "alan"
    assert admin.generic("GET", path, "none").status_code == 404
    assert admin.get(f"{API}/authorizations/cookie/x/{cookie}").status_code == 404
    assert bearer(None).get(f"{path}/{cookie}").status_code == 403
    assert browser.get(f"{path}/{cookie}").status_code == 403
