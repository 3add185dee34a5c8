"""Headers of all responses, the routing of requests, and the access log."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import ResolverMatch

from accounts.models import User
from hubsite import middleware
from hubsite.middleware import HubMiddleware, Lines
from tests.conftest import API
from tests.factories import make_service, make_token
from web.paths import ENCODED_SLASH, remembered_view


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the lines of the access log."""
    found: list[dict[str, Any]] = []

    class Log:
        def info(self, event: str, **fields: Any) -> None:
            found.append(fields)

    monkeypatch.setattr(middleware, "access_log", Log)
    return found


@pytest.mark.parametrize("path", [f"{API}/", f"{API}/nothing", "/hub/login", "/hub/x"])
def test_every_response_names_the_version(path: str, client: Client, db: None) -> None:
    headers = client.get(path).headers
    assert headers["X-JupyterHub-Version"] == "6.1.1"
    assert (
        headers["Access-Control-Allow-Headers"] == "accept, content-type, authorization"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "report-uri /hub/security/csp-report" in (headers["Content-Security-Policy"])


def test_the_api_allows_no_content_at_all(client: Client) -> None:
    policy = client.get(f"{API}/").headers["Content-Security-Policy"]
    assert policy.endswith("default-src 'none'")


def test_pages_keep_their_own_policy(client: Client, db: None) -> None:
    policy = client.get("/hub/login").headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy


@pytest.mark.parametrize("path", ["/hub/login", "/hub/api/docs/", "/hub/home"])
def test_pages_are_kept_by_no_cache(path: str, as_: Any, ada: User) -> None:
    for user in (ada, None):
        assert "private" in as_(user).get(path).headers["Cache-Control"]


def test_https_makes_every_cookie_secure(as_: Any, ada: User) -> None:
    for secure in (True, False):
        page = as_(ada).get("/hub/login", secure=secure)
        assert page.cookies
        for cookie in page.cookies.values():
            assert bool(cookie["secure"]) is secure


def test_no_address_with_a_secret_is_kept_in_memory(ada: User, bearer: Any) -> None:
    _, secret = make_token(ada)
    remembered_view.cache_clear()

    client = bearer(secret)
    assert client.get(f"{API}/authorizations/token/{secret}").status_code == 200
    assert remembered_view.cache_info().currsize == 0
    client.get(f"{API}/user")
    assert remembered_view.cache_info().currsize == 1


def test_health_is_no_page_and_has_a_policy(client: Client) -> None:
    policy = client.get("/hub/health").headers["Content-Security-Policy"]
    assert "default-src" not in policy or "script-src" in policy


def test_a_known_answer_is_not_sent_again(ada: User, bearer: Any) -> None:
    client = bearer(make_token(ada)[1])
    first = client.get(f"{API}/groups")
    again = client.get(f"{API}/groups", headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again["ETag"] == first["ETag"]
    assert again["X-JupyterHub-Version"] == "6.1.1"


def test_only_good_reads_are_tagged(ada: User, bearer: Any) -> None:
    client = bearer(make_token(ada)[1])
    assert "ETag" not in client.get(f"{API}/users/nobody")
    assert "ETag" not in client.post(f"{API}/users/new")
    assert "ETag" not in client.get("/hub/login")


@pytest.mark.parametrize(
    ("path", "headers", "is_short"),
    [
        (f"{API}/user", {"authorization": "token x"}, True),
        (f"{API}/user", {}, True),
        (f"{API}/user", {"cookie": "_xsrf=x"}, True),
        (f"{API}/user", {"cookie": "jupyterhub-hub-login=x"}, False),
        (
            f"{API}/user",
            {"authorization": "token x", "cookie": "jupyterhub-hub-login=x"},
            False,
        ),
        (f"{API}/user", {"origin": "http://elsewhere"}, False),
        ("/hub/home", {"authorization": "token x"}, False),
    ],
)
def test_calls_that_bring_no_session_take_the_short_way(
    path: str, headers: dict[str, str], is_short: bool
) -> None:
    taken = []
    hub = HubMiddleware(lambda request: taken.append("long") or HttpResponse())
    hub.short_way = lambda request: taken.append("short") or HttpResponse()
    hub(RequestFactory(headers=headers).get(path))
    assert taken == ["short" if is_short else "long"]


def test_a_session_still_speaks_for_the_api(ada: User, as_: Any) -> None:
    assert as_(ada).get(f"{API}/user").json()["name"] == "ada"


def test_a_line_has_the_caller_and_the_request(
    ada: User, lines: list[dict[str, Any]], bearer: Any
) -> None:
    bearer(make_token(ada)[1]).get(f"{API}/users/ada")
    (line,) = lines
    assert line.pop("ms") > 0
    assert line == {
        "method": "GET",
        "path": f"{API}/users/ada",
        "status": 200,
        "who": "ada",
        "address": "127.0.0.1",
    }


def test_a_line_distinguishes_services_and_users(
    db: None, lines: list[dict[str, Any]], bearer: Any
) -> None:
    service = make_service("ada")
    bearer(make_token(service)[1]).get(f"{API}/user")
    assert lines[0]["who"] == "service:ada"


def test_a_line_names_who_is_signed_in(
    ada: User, lines: list[dict[str, Any]], as_: Any
) -> None:
    as_(ada).get("/hub/home")
    assert lines[0]["who"] == "ada"


def test_lines_hold_no_secret(
    ada: User, lines: list[dict[str, Any]], bearer: Any
) -> None:
    secret = make_token(ada)[1]
    client = bearer(secret)
    client.get(f"{API}/user?token={secret}")
    client.get(f"{API}/authorizations/token/{secret}")
    client.get(f"{API}/{secret}")
    client.get("/hub/welcome/MQ/one-time-value/")
    assert len(lines) == 4
    written = json.dumps(lines)
    assert secret not in written
    assert "one-time-value" not in written


@pytest.mark.parametrize("part", sorted(middleware.SECRET_PARTS))
@pytest.mark.parametrize("slash", ["/", ENCODED_SLASH])
def test_a_secret_with_a_slash_is_not_shown(part: str, slash: str) -> None:
    request = RequestFactory().get("/")
    request.path = f"/hub/api/authorizations/token/ab{slash}cd"
    request.resolver_match = ResolverMatch(print, (), {part: "ab/cd"})

    assert middleware.shown_path(request).endswith("/token/[secret]")


@pytest.mark.parametrize("part", ["x", "%01", "\u20ac", "%F0%9F%90%8D", "%0A"])
def test_no_request_writes_a_long_line(
    part: str, client: Client, capfd: pytest.CaptureFixture[str], db: None
) -> None:
    write = Lines().info
    request = RequestFactory().get(f"/hub/{part * 3_000}")

    write("request", path=middleware.shown_path(request), status=404, address="::1")

    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert len(line.encode()) < 400
    assert "\u2026" in line
