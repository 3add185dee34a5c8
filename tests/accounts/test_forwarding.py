"""What passes between browsers and the host of an authenticator class."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from accounts.hosting.forwarding import (
    cookies_of,
    destination,
    destination_after_sign_in,
    headers_of,
    take_headers,
)
from web.addresses import THROUGH_SOCKET
from web.environ import ALL_HEADERS

PROVIDER = "https://login.uni.example/authorize?client_id=hub"


def request_with(headers: dict[str, str], path: str = "/hub/login", **meta: Any) -> Any:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return RequestFactory().get(path, **{ALL_HEADERS: sent, **meta})


@pytest.mark.parametrize(
    ("location", "wanted", "leads"),
    [
        (PROVIDER, "", PROVIDER),
        (PROVIDER, "/hub/token", PROVIDER),
        ("/hub/token", "/hub/token", "/hub/token"),
        ("https://evil.example/x", "https://evil.example/x", "/hub/home"),
        ("//evil.example/x", "//evil.example/x", "/hub/home"),
        ("/\\evil.example", "", "/hub/home"),
        ("https:/evil.example", "", "/hub/home"),
        ("javascript:alert(1)", "", "/hub/home"),
    ],
)
def test_redirects_before_a_sign_in(location: str, wanted: str, leads: str) -> None:
    request = RequestFactory().get("/hub/oauth_login", {"next": wanted})

    assert destination(request, location) == leads


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/hub/token?page=2", "/hub/token?page=2"),
        ("http://testserver/hub/token", "/hub/token"),
        ("https://evil.example/x", ""),
        ("//evil.example/x", ""),
        ("", ""),
    ],
)
def test_redirects_after_a_sign_in_stay(location: str, path: str) -> None:
    request = RequestFactory().get("/hub/oauth_callback")

    assert destination_after_sign_in(request, location) == path


@pytest.mark.parametrize(
    ("meta", "counts"),
    [
        ({"REMOTE_ADDR": "10.1.0.7"}, True),
        ({"REMOTE_ADDR": "10.1.0.8"}, False),
        # Through the hub's proxy, which adds who connected to it.
        ({THROUGH_SOCKET: True, "HTTP_X_FORWARDED_FOR": "192.0.2.1, 10.1.0.7"}, True),
        ({THROUGH_SOCKET: True, "HTTP_X_FORWARDED_FOR": "10.1.0.7, 192.0.2.1"}, False),
        ({THROUGH_SOCKET: True, "REMOTE_ADDR": "10.1.0.7"}, False),
    ],
)
def test_headers_of_servers_in_front(
    settings: Any, meta: dict[str, Any], counts: bool
) -> None:
    settings.TRUSTED_PROXIES = ["10.1.0.7"]
    request = request_with({"REMOTE_USER": "ada", "User-Agent": "x"}, **meta)

    found = dict(headers_of(request))

    assert ("REMOTE_USER" in found) == counts
    assert found["User-Agent"] == "x"


def test_nobody_is_named_by_default(settings: Any) -> None:
    settings.TRUSTED_PROXIES = None
    request = request_with({"REMOTE_USER": "ada"}, REMOTE_ADDR="127.0.0.1")

    assert "REMOTE_USER" not in dict(headers_of(request))


def test_scheme_and_host_are_those_that_the_hub_knows() -> None:
    request = request_with(
        {"X-Forwarded-Proto": "https", "X_Forwarded_Host": "evil.example", "Host": "x"}
    )

    found = dict(headers_of(request))

    assert (found["X-Forwarded-Proto"], found["Host"]) == ("http", "testserver")
    assert "evil.example" not in str(found)


def test_cookies_of_the_hub_stay_here() -> None:
    sent = "jupyterhub-hub-login=a; _xsrf=b; __Host-_xsrf=c; campus=d; hosted-_xsrf=e"
    request = request_with({}, HTTP_COOKIE=sent)

    assert list(cookies_of(request)) == ["campus=d", "_xsrf=e"]


def test_cookies_of_the_class_replace_none() -> None:
    response = HttpResponse()

    take_headers(
        RequestFactory().get("/hub/own"),
        response,
        [
            ("Set-Cookie", "jupyterhub-hub-login=x; Path=/hub/; HttpOnly"),
            ("Set-Cookie", 'state="2|1:0|a=="; Path=/; Secure'),
            ("Server", "tornado"),
            ("X-Of-The-Class", "y"),
        ],
    )

    assert set(response.cookies) == {"hosted-jupyterhub-hub-login", "state"}
    assert response.cookies["state"].coded_value == '"2|1:0|a=="'
    assert response.cookies["hosted-jupyterhub-hub-login"]["path"] == "/hub/"
    assert "Server" not in response.headers
    assert response.headers["X-Of-The-Class"] == "y"
