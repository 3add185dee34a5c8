"""Unmodified programs of JupyterHub's packages, run by the hub behind its proxy."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests

from tests.hubsite.conftest import (  # noqa: F401 - a fixture
    RunningHub,
    hub,
    status_of,
    wait_until,
)
from tests.ports import free_ports

WHOAMI = Path(__file__).with_name("whoami.py")
STUB = Path(__file__).parent.parent / "servers" / "stub.py"
HIDDEN = ("name", "value")
SECRET = "a-secret-that-somebody-brought"

pytestmark = pytest.mark.slow


def declare(site: RunningHub, name: str, *command: str, **fields: Any) -> None:
    declared = {"name": name, "command": [sys.executable, *command], **fields}
    site.declare(f"c.JupyterHub.services.append({declared!r})")


@pytest.fixture
def site(hub: RunningHub) -> RunningHub:  # noqa: F811
    """A hub on which Ada may enter all services, and Mallory none."""
    hub.declare("c.JupyterHub.authenticator_class = 'dummy'")
    hub.declare("c.JupyterHub.spawner_class = 'simple'")
    hub.declare(f"c.Spawner.cmd = [{sys.executable!r}, {str(STUB)!r}]")
    hub.declare("c.Authenticator.allowed_users = {'ada', 'bob', 'mallory'}")
    hub.declare("c.JupyterHub.oauth_require_pkce = True")
    hub.declare(
        "c.JupyterHub.services = "
        f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
    )
    hub.declare(
        "c.JupyterHub.load_roles = [{'name': 'visitor', 'users': ['ada'], "
        "'scopes': ['access:services']}]"
    )
    return hub


class Browser:
    """What a browser does: it keeps cookies, follows redirects, sends forms."""

    def __init__(self, site: RunningHub) -> None:
        self.origin = f"http://127.0.0.1:{site.port}"
        self.session = requests.Session()

    def open(self, path: str) -> requests.Response:
        return self.session.get(urljoin(self.origin, path), timeout=20)

    def send(self, page: requests.Response, **fields: str) -> requests.Response:
        """Send the form of a page, with what it holds and these fields."""
        form = re.search(r"<main.*?<form(.*?)>(.*?)</form>", page.text, re.DOTALL)
        assert form, page.text
        action = re.search(r'action="([^"]*)"', form[1])
        hidden = [
            (re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag))
            for tag in re.findall(r"<input[^>]*>", form[2])
            if "hidden" in tag
        ]
        data = [
            (name[1], unescape(value[1])) for name, value in hidden if name and value
        ]
        return self.session.post(
            urljoin(page.url, unescape(action[1]) if action else page.url),
            data=[*data, *fields.items()],
            headers={"Referer": page.url, "Origin": self.origin},
            timeout=20,
        )

    def sign_in(self, page: requests.Response, name: str) -> requests.Response:
        assert urlsplit(page.url).path == "/hub/login", page.url
        return self.send(page, username=name, password="x")


@pytest.fixture
def services(site: RunningHub) -> Iterator[RunningHub]:
    """Three services that say who asks: by token, by OAuth, and without consent."""
    for name, kind in (("token", "token"), ("oauth", "oauth"), ("open", "oauth")):
        (port,) = free_ports(1)
        declare(
            site,
            name,
            *(str(WHOAMI), kind),
            url=f"http://127.0.0.1:{port}",
            oauth_no_confirm=name == "open",
        )
    site.start()
    for name in ("token", "oauth", "open"):
        url = f"http://127.0.0.1:{site.port}/services/{name}/"
        # A sign-in page and a refusal are answers, too; the proxy's own error is not.
        wait_until(
            lambda url=url: (
                requests.get(url, allow_redirects=False, timeout=20).status_code
                in (302, 403)
            ),
            f"{name} answers",
        )
    yield site


def test_people_sign_in_to_services_through_the_hub(services: RunningHub) -> None:
    browser = Browser(services)

    # Whoever is a stranger signs in at the hub, is asked, and arrives.
    page = browser.open("/services/oauth/")
    asked = next(
        urlsplit(step.url)
        for step in page.history
        if urlsplit(step.url).path == "/hub/api/oauth2/authorize"
    )
    query = parse_qs(asked.query)
    assert query["client_id"] == ["service-oauth"]
    assert query["redirect_uri"] == ["/services/oauth/oauth_callback"]
    assert query["code_challenge_method"] == ["S256"]
    consent = browser.sign_in(page, "ada")
    assert urlsplit(consent.url).path == "/hub/api/oauth2/authorize"
    arrived = browser.send(consent)
    assert urlsplit(arrived.url).path == "/services/oauth/"
    who = arrived.json()
    assert (who["name"], who["kind"]) == ("ada", "user")
    assert "access:services!service=oauth" in who["scopes"]

    # Nobody is asked twice, nor for a service that needs no confirmation.
    assert browser.open("/services/oauth/again").json()["name"] == "ada"
    arrived = browser.open("/services/open/")
    assert arrived.json()["name"] == "ada"
    assert not any("<form" in step.text for step in arrived.history)

    # Who signs out of the hub is known to no service.
    browser.open("/hub/logout")
    for name in ("oauth", "open"):
        page = browser.open(f"/services/{name}/")
        assert urlsplit(page.url).path == "/hub/login", page.url


def test_who_may_not_enter_a_service_is_refused(services: RunningHub) -> None:
    browser = Browser(services)
    refused = browser.sign_in(browser.open("/services/oauth/"), "mallory")
    assert refused.status_code == 403
    assert "access" in refused.text


def test_services_know_people_by_their_tokens(services: RunningHub) -> None:
    url = f"http://127.0.0.1:{services.port}/services/token/"
    secrets = {
        name: services.manage("token", name).stdout.strip()
        for name in ("ada", "mallory")
    }
    assert requests.get(url, timeout=20).status_code == 403
    for scheme in ("token", "Bearer"):
        headers = {"Authorization": f"{scheme} {secrets['ada']}"}
        assert requests.get(url, headers=headers, timeout=20).json()["name"] == "ada"
    headers = {"Authorization": f"token {secrets['mallory']}"}
    assert requests.get(url, headers=headers, timeout=20).status_code == 403
    headers = {"Authorization": "token no-such-token"}
    assert requests.get(url, headers=headers, timeout=20).status_code == 403


def test_the_idle_culler_stops_servers_that_nobody_uses(site: RunningHub) -> None:
    culler = ("-m", "jupyterhub_idle_culler", "--timeout=20", "--cull-every=1")
    declare(site, "idle-culler", *culler)
    site.declare(
        "c.JupyterHub.load_roles.append({'name': 'idle-culler', "
        "'services': ['idle-culler'], 'scopes': ['list:users', "
        "'read:users:activity', 'read:servers', 'delete:servers']})"
    )
    site.start()
    over = Event()

    def work() -> None:
        while not over.wait(0.3):
            # Ahead of the clock, so that a report that comes late on a busy machine
            # still counts.
            ahead = time.gmtime(time.time() + 600)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", ahead)
            activity = {"servers": {"": {"last_activity": moment}}}
            site.call("POST", "api/users/bob/activity", SECRET, activity)

    def is_running(name: str) -> bool:
        servers = site.get(f"api/users/{name}", SECRET)["servers"]
        return bool(servers and servers[""]["ready"])

    log = site.data_dir / "logs" / "controller.log"
    bob = Thread(target=work)
    bob.start()
    try:
        site.call("POST", "api/users/bob/server", SECRET, {})
        site.call("POST", "api/users/ada/server", SECRET, {})
        wait_until(
            lambda: "Culling server ada" in log.read_text() and not is_running("ada"),
            "Ada's server is stopped",
        )
        assert is_running("bob")
        assert status_of(f"http://127.0.0.1:{site.port}/user/bob/api") == 200
    finally:
        over.set()
        bob.join()
