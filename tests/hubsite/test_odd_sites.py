"""Hubs with rare settings, in the view of people and programs."""

from __future__ import annotations

import json
import re
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote

import pytest

from tests.hubsite.conftest import RunningHub, wait_until

# One hub is asked for everything, since a start takes seconds.
FILE = """
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.bind_url = c.JupyterHub.bind_url + "/@/space%20word/"
c.JupyterHub.hub_ip = ""
c.JupyterHub.hub_connect_url = f"http://127.0.0.1:{c.JupyterHub.hub_port}/hub"
c.JupyterHub.log_level = "DEBUG"
c.JupyterHub.template_vars = {
    "announcement": "Maintenance on <b>Friday</b>",
    "announcement_login": lambda user: f"Campus account, {user}",
}
c.JupyterHub.tornado_settings = {
    "headers": {
        "Content-Security-Policy": "frame-ancestors 'self' https://lms.example.org",
        "Access-Control-Allow-Origin": "https://lms.example.org",
        "X-Site": "physics",
    },
    "cookie_options": {"SameSite": "None", "Secure": True},
}
c.JupyterHub.services = [{"name": "ci", "api_token": b"a-token-of-twenty-characters"}]
c.JupyterHub.load_roles = [
    {"name": "reader", "scopes": ["admin:users"], "services": ["ci"]}
]
c.Hub.site_name = "Physics"
c.Hub.help_url = "https://help.example.org/"
c.Hub.footer = '<a href="https://example.org/imprint">Imprint</a>'
"""
BASE = "/@/space%20word/"
SECRET = {"Authorization": "token a-token-of-twenty-characters"}


class Site:
    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub

    def ask(
        self, path: str, method: str = "GET", port: int = 0, **more: Any
    ) -> tuple[Any, str]:
        """Ask the hub through its proxy, or at another port."""
        connection = HTTPConnection("127.0.0.1", port or self.hub.port, timeout=60)
        connection.request(method, path, **more)
        response: HTTPResponse = connection.getresponse()
        return response, response.read().decode()


@pytest.mark.slow
def test_a_site_with_wishes(hub: RunningHub) -> None:
    hub.base_url = BASE
    hub.declare(FILE)
    hub.start()
    site = Site(hub)

    _its_base_url_has_an_escape(site)
    _its_oauth_server_is_found_outside_of_the_base_url(site)
    _its_headers_are_on_every_answer(site)
    _it_may_be_shown_in_a_frame(site)
    _its_cookies_go_along_in_a_frame(site)
    _its_pages_bear_its_name_and_announcements(site)
    site.ask(f"{BASE}hub/api/user", headers={"Authorization": "token nobody-has-it"})
    wait_until(lambda: "debug" in hub.said(), "the log has the reason of a refusal")
    assert "CREATE TABLE" not in hub.said()


def _its_base_url_has_an_escape(site: Site) -> None:
    response, page = site.ask(f"{BASE}hub/login")
    assert response.status == 200
    sheet = re.search(r'href="([^"]+hub[^"]*\.css)"', page)
    assert sheet and site.ask(sheet[1])[0].status == 200
    for spelt in (BASE, "/%40/space%20word/", "/@/space%20word"):
        assert site.ask(spelt)[0].getheader("Location") == f"{BASE}hub/"
    response, _ = site.ask(f"{BASE}user/ada/lab")
    assert response.getheader("Location") == f"{BASE}hub/user/ada/lab"
    response, page = site.ask(f"{BASE}hub/nothing-here")
    assert response.status == 404 and "Page not found" in page
    response, body = site.ask(f"{BASE}hub/api/users", headers=SECRET)
    assert (response.status, body) == (200, "[]")
    # Whatever the proxy can't deliver, it asks the hub for a page about.
    response, page = site.ask(f"{BASE}hub/error/503?url={quote(BASE)}user/ada/")
    assert "does not answer" in page


def _its_oauth_server_is_found_outside_of_the_base_url(site: Site) -> None:
    issuer = f"http://127.0.0.1:{site.hub.port}{BASE}".rstrip("/")
    name = ".well-known/oauth-authorization-server"
    for path in (f"/{name}{BASE.rstrip('/')}", f"{BASE}{name}", f"{BASE}hub/{name}"):
        response, text = site.ask(path)
        assert response.status == 200, path
        document = json.loads(text)
        assert document["issuer"] == issuer
        assert document["token_endpoint"] == f"{issuer}/hub/api/oauth2/token"


def _its_headers_are_on_every_answer(site: Site) -> None:
    for path, more in (
        (f"{BASE}hub/login", {}),
        (f"{BASE}hub/api/", {}),
        (f"{BASE}hub/api/", {"method": "OPTIONS"}),
        (f"{BASE}hub/api/users", {"method": "OPTIONS"}),
        (f"{BASE}hub/api/users", {}),
        (f"{BASE}hub/api/users", {"headers": SECRET}),
        (f"{BASE}hub/nothing-here", {}),
        (f"{BASE}hub/static/hub.css", {}),
        (f"{BASE}hub/health", {}),
        (f"{BASE}user/ada/", {}),
        (
            f"{BASE}hub/api/users",
            {
                "method": "POST",
                "port": site.hub.hub_port,
                "headers": {"Content-Length": "11000000"},
            },
        ),
    ):
        response, _ = site.ask(path, **more)
        assert response.getheader("X-Site") == "physics", (path, more.get("method"))
        origin = response.headers.get_all("Access-Control-Allow-Origin")
        assert origin == ["https://lms.example.org"], path


def _it_may_be_shown_in_a_frame(site: Site) -> None:
    for path in ("hub/login", "hub/api/", "hub/nothing-here", "hub/spawn"):
        policy = site.ask(BASE + path)[0].headers.get_all("Content-Security-Policy")
        assert len(policy) == 1
        assert "frame-ancestors 'self' https://lms.example.org" in policy[0]
        assert policy[0].count("frame-ancestors") == 1
        assert "report-uri /@/space%20word/hub/security/csp-report" in policy[0]
    assert "default-src 'none'" in policy[0] or "script-src" in policy[0]


def _its_cookies_go_along_in_a_frame(site: Site) -> None:
    response, _ = site.ask(f"{BASE}hub/login")
    (xsrf,) = response.headers.get_all("Set-Cookie")
    value = xsrf.partition(";")[0]
    response, _ = site.ask(
        f"{BASE}hub/login",
        "POST",
        body=f"username=ada&password=x&{value}",
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": value,
        },
    )
    assert response.status == 302
    cookies = [xsrf, *response.headers.get_all("Set-Cookie")]
    assert {"jupyterhub-hub-login", "_xsrf"} <= {c.partition("=")[0] for c in cookies}
    for cookie in cookies:
        assert "SameSite=None" in cookie and "Secure" in cookie


def _its_pages_bear_its_name_and_announcements(site: Site) -> None:
    _, page = site.ask(f"{BASE}hub/login")
    assert "Campus account, None" in page and "Friday" not in page
    assert "Physics</title>" in page
    assert 'href="https://help.example.org/"' in page
    assert '<a href="https://example.org/imprint">Imprint</a>' in page
    _, page = site.ask(f"{BASE}hub/nothing-here")
    assert "Maintenance on <b>Friday</b>" in page
