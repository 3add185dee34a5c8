"""Attacks by the page of another person's server, with and without hosts for users.

Ada may open Mallory's server, and its page tries to act in the hub as Ada. The servers
sign visitors in with JupyterHub's own library.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Chromium
from tests.hubsite.conftest import RunningHub
from tests.servers import oauth_stub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hosts")]

PATIENCE = 120_000
PASSWORD = "open-sesame"
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "{password}"
c.JupyterHub.redirect_to_server = False
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{homes}/{{username}}"
c.Spawner.cmd = {command!r}
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
c.JupyterHub.load_roles = [
    {{"name": "guests", "scopes": ["access:servers!user=mallory"], "users": ["ada"]}},
]
"""
# Each way in which a script may ask for something with the cookies of its visitor.
ATTEMPT = """async ([hub, path, mode]) => {
    try {
        const response = await fetch(hub + path, {
            mode, credentials: "include", headers: {Accept: "text/html"},
        });
        return [response.status, await response.text()];
    } catch (error) {
        return [0, String(error)];
    }
}"""
ISSUE = """async ([hub, proof]) => {
    const body = new URLSearchParams({
        _xsrf: proof, note: "stolen", expires_in: "3600", permissions: "everything",
    });
    try {
        const response = await fetch(`${hub}/hub/token/new`, {
            method: "POST", credentials: "include", body,
        });
        return [response.status, await response.text()];
    } catch (error) {
        return [0, String(error)];
    }
}"""
READ_WINDOW = """async (address) => {
    const opened = window.open(address);
    if (!opened) return "no window";
    for (let turn = 0; turn < 100; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        try {
            const field = opened.document.querySelector("[name=_xsrf]");
            if (field) return field.value;
        } catch (error) {
            return "refused";
        }
    }
    return "nothing";
}"""


class Site:
    """A hub, under the address by which browsers reach it."""

    def __init__(self, hub: RunningHub, origin: str, server: str) -> None:
        self.hub = hub
        self.origin = origin
        self.server = server

    def address_of(self, name: str) -> str:
        return self.server.format(name=name) + f"/user/{name}/"


def start(folder: Path, more: Callable[[RunningHub], str]) -> RunningHub:
    hub = RunningHub(folder, {})
    hub.declare(
        CONFIG.format(
            password=PASSWORD,
            homes=folder / "homes",
            command=[sys.executable, str(oauth_stub.__file__)],
        )
        + more(hub)
    )
    hub.start()
    return hub


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub whose servers have its own host name."""
    hub = start(tmp_path_factory.mktemp("together"), lambda hub: "")
    origin = f"http://127.0.0.1:{hub.port}"
    yield Site(hub, origin, origin)
    hub.stop()


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub where each user has a host."""

    def more(hub: RunningHub) -> str:
        return f'c.JupyterHub.subdomain_host = "http://hub.test:{hub.port}"\n'

    hub = start(tmp_path_factory.mktemp("apart"), more)
    host = f"hub.test:{hub.port}"
    yield Site(hub, f"http://{host}", f"http://{{name}}.{host}")
    hub.stop()


@pytest.fixture
def visit(chromium: Chromium) -> Iterator[Callable[[Site, str], Page]]:
    """Sign somebody in, in a window of their own."""
    contexts: list[BrowserContext] = []

    def sign_in(site: Site, name: str) -> Page:
        context = chromium.new_context()
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{site.origin}/hub/login")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", name="My server")).to_be_visible()
        return page

    yield sign_in
    chromium.close(contexts)


def start_server(site: Site, page: Page, name: str) -> None:
    """Start one's own server, and come to it signed in."""
    page.goto(f"{site.origin}/hub/home")
    page.get_by_role("button", name="Start my server").click()
    expect(page.get_by_role("heading", name=f"{name} greets {name}")).to_be_visible(
        timeout=PATIENCE
    )
    assert page.url.startswith(site.address_of(name))


def stop_server(site: Site, page: Page) -> None:
    page.goto(f"{site.origin}/hub/home")
    page.get_by_role("button", name="Stop my server").click()
    button = page.get_by_role("button", name="Start my server")
    expect(button).to_be_visible(timeout=PATIENCE)


def open_mallorys_server(site: Site, page: Page, *, warned: bool) -> None:
    page.goto(site.address_of("mallory"))
    words = page.get_by_text("can act in the hub as you")
    expect(words).to_have_count(1 if warned else 0)
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("heading", name="mallory greets ada")).to_be_visible()


def attack(site: Site, page: Page) -> None:
    """Try to act as Ada by scripts that fetch; none may read what is Ada's."""
    for path in ("/hub/token", "/hub/nothing", "/hub/api/user"):
        for mode in ("cors", "no-cors", "same-origin"):
            status, text = page.evaluate(ATTEMPT, [site.origin, path, mode])
            assert status in (0, 403, 404), (path, mode, status)
            assert "ada" not in text
            # What a form would need to be sent; a value of nobody's is none.
            found = re.search(r'name="_xsrf" value="([^"]+)"', text)
            proof = found[1] if found else "made-up"
            status, text = page.evaluate(ISSUE, [site.origin, proof])
            assert status in (0, 403)
            assert 'id="secret"' not in text


def tokens_noted(site: Site, page: Page, note: str) -> int:
    page.goto(f"{site.origin}/hub/token")
    return int(page.get_by_role("row").filter(has_text=note).count())


def test_a_script_of_another_server_cannot_act_by_fetching(
    together: Site, visit: Callable[[Site, str], Page]
) -> None:
    mallory = visit(together, "mallory")
    start_server(together, mallory, "mallory")
    page = visit(together, "ada")
    open_mallorys_server(together, page, warned=True)

    attack(together, page)

    assert tokens_noted(together, page, "stolen") == 0
    stop_server(together, mallory)


def test_another_servers_page_is_of_another_origin_with_hosts_for_users(
    apart: Site, visit: Callable[[Site, str], Page]
) -> None:
    mallory = visit(apart, "mallory")
    start_server(apart, mallory, "mallory")
    page = visit(apart, "ada")
    open_mallorys_server(apart, page, warned=False)

    attack(apart, page)
    for address in (apart.origin, apart.server.format(name="mallory")):
        # At Mallory's own host there is no page of the hub, and no cookie of Ada's.
        seen = page.evaluate(READ_WINDOW, f"{address}/hub/token")
        assert seen in ("refused", "nothing", "no window")
    status, _ = page.evaluate(
        ATTEMPT, [apart.server.format(name="mallory"), "/hub/token", "cors"]
    )
    assert status in (0, 403)

    assert tokens_noted(apart, page, "stolen") == 0
    stop_server(apart, mallory)


def test_a_server_at_its_own_host_from_start_to_sign_out(
    apart: Site, visit: Callable[[Site, str], Page]
) -> None:
    page = visit(apart, "ada")
    start_server(apart, page, "ada")
    cookies: Any = page.context.cookies()
    domains = {cookie["name"]: cookie["domain"] for cookie in cookies}
    assert domains["jupyterhub-hub-login"] == "hub.test"
    assert domains["jupyterhub-session-id"] == ".hub.test"
    assert domains["jupyterhub-user-ada"] == "ada.hub.test"

    # The address of a server at the hub's host leads to its own.
    page.goto(f"{apart.origin}/user/ada/")
    assert page.url.startswith(apart.address_of("ada"))
    # So does a sign-in that was asked for there.
    page.goto(f"{apart.origin}/hub/logout")
    page.goto(apart.address_of("ada"))
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="ada greets ada")).to_be_visible()

    stop_server(apart, page)
    page.goto(apart.address_of("ada"))
    expect(page.get_by_role("heading", name="Server not running")).to_be_visible()
    assert page.url.startswith(f"{apart.origin}/hub/user/ada")
