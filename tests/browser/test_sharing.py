"""Share servers on the page, and in a hub with real programs only."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from servers.models import Share
from tests.browser.conftest import Chromium
from tests.factories import make_server, make_share, make_user
from tests.hubsite.conftest import RunningHub

PATIENCE = 240
PASSWORD = "open-sesame"
SECRETS = {name: f"{name}-" + "s" * 32 for name in ("alan", "bob", "frank")}


# The page


@pytest.fixture
def owner(transactional_db: None) -> Any:
    scopes = ["shares!user", "read:users:name"]
    return make_user("alan", scopes=scopes)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_share_to_revocation(window: Any, owner: Any, scripts: bool) -> None:
    make_server(owner, "lab", display_name="Genomes", ready=True, wanted="running")
    make_share(make_server(make_user("grace"), ready=True), user=owner)
    make_user("bob")
    visit = window(owner, java_script_enabled=scripts)
    page = visit.open("/hub/home")
    page.get_by_text("alan", exact=True).first.click()
    page.get_by_role("link", name="Sharing").click()
    if scripts:
        visit.survey()

    lab = page.locator("section").filter(
        has=page.get_by_role("heading", name="Genomes")
    )
    lab.get_by_text("Share with a person or group").click()
    lab.get_by_label("Name").fill("nobody")
    lab.get_by_role("button", name="Share").click()
    expect(lab.get_by_label("Name")).to_be_focused()
    expect(lab.get_by_label("Name")).to_have_accessible_description(
        "No such user: nobody"
    )
    if scripts:
        visit.survey()
    lab.get_by_label("Name").fill("bob")
    lab.get_by_role("button", name="Share").click()
    expect(page.get_by_role("status")).to_contain_text("Shared with bob.")
    assert Share.objects.get(server__name="lab").user.name == "bob"  # type: ignore[union-attr]

    lab.get_by_text("Create link").first.click()
    lab.get_by_role("button", name="Create link").click()
    link = page.get_by_role("textbox", name="Link").input_value()
    assert "/hub/accept-share?code=" in link
    if scripts:
        visit.survey()
    page.get_by_role("link", name="Back to sharing").click()
    if scripts:
        visit.survey()

    lab.get_by_role("button", name="Revoke the link").click()
    expect(page.get_by_role("status")).to_contain_text("no longer works")
    lab.get_by_role("button", name="Revoke the share of bob").click()
    expect(lab.get_by_text("Not shared.")).to_be_visible()
    page.get_by_role("button", name="Leave grace/").click()
    assert not Share.objects.exists()


# A hub with everything real


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("sharing")
    hub = RunningHub(folder, {})
    arguments = ["--allow-root"] if os.geteuid() == 0 else []
    tokens = {secret: name for name, secret in SECRETS.items()}
    hub.declare(
        f"""
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "{PASSWORD}"
c.Authenticator.admin_users = {{"ada"}}
c.Authenticator.allow_all = True
c.JupyterHub.redirect_to_server = False
c.JupyterHub.api_tokens = {tokens!r}
c.JupyterHub.load_groups = {{"team": {{"users": ["frank"]}}}}
c.JupyterHub.load_roles = [
    {{"name": "user", "scopes": ["self"], "users": ["bob", "frank"]}},
    {{
        "name": "sharer",
        "scopes": [
            "self", "shares!user", "read:users:name!user=bob",
            "read:groups:name!group=team",
        ],
        "users": ["alan"],
    }},
]
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/homes/{{username}}"
c.Spawner.args = {arguments!r}
c.Spawner.start_timeout = c.Spawner.http_timeout = {PATIENCE}
"""
    )
    hub.start()
    yield hub
    hub.stop()
    left = hub.pids()
    for pid in left.values():
        os.kill(pid, signal.SIGKILL)
    assert not left, "the hub left processes behind"


@pytest.fixture
def enter(chromium: Chromium, hub: RunningHub) -> Iterator[Callable[[str], Page]]:
    """Return what signs somebody in, in a browser of their own."""
    contexts: list[BrowserContext] = []

    def sign_in(name: str) -> Page:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(hub.url)
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", name="My server")).to_be_visible()
        return page

    yield sign_in
    chromium.close(contexts)


def ask(hub: RunningHub, path: str, name: str, body: Any = None) -> tuple[int, Any]:
    """Ask the hub or, through its proxy, a server, with somebody's token."""
    request = Request(
        f"{hub.url.removesuffix('/hub/')}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"token {SECRETS[name]}"},
        method="GET" if body is None else "POST",
    )
    try:
        with urlopen(request, timeout=PATIENCE) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except HTTPError as error:
        return error.code, None


@pytest.fixture
def server(hub: RunningHub, enter: Callable[[str], Page]) -> Page:
    """Have Alan's server run; return his page, on which he shares it."""
    page = enter("alan")
    button = page.get_by_role("button", name="Start my server")
    if button.is_visible():
        button.click()
        page.wait_for_url(re.compile("/user/alan/lab"), timeout=PATIENCE * 1000)
    page.goto(f"{hub.url}shares")
    return page


def open_server(page: Page, hub: RunningHub) -> None:
    """Open Alan's server, and agree that it may know who comes."""
    page.goto(f"{hub.url.removesuffix('hub/')}user/alan/")
    expect(page).to_have_url(re.compile("/hub/api/oauth2/authorize"))
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url(re.compile("/user/alan/lab"))
    expect(page.locator("#main")).to_be_visible(timeout=PATIENCE * 1000)


real = [pytest.mark.slow, pytest.mark.xdist_group("notebook")]


class TestReal:
    """One hub for all: a server takes seconds to start."""

    pytestmark = real

    def test_a_share_lets_in_and_its_end_keeps_out(
        self, hub: RunningHub, enter: Callable[[str], Page], server: Page
    ) -> None:
        api = "/user/alan/api/status"
        assert ask(hub, "/hub/api/user", "alan")[0] == 200
        server.get_by_text("Share with a person or group").click()
        server.get_by_label("Name").fill("bob")
        server.get_by_role("button", name="Share").click()
        expect(server.get_by_role("status")).to_contain_text("Shared with bob.")

        _, bob = ask(hub, "/hub/api/user", "bob")
        assert "access:servers!server=alan/" in bob["scopes"]
        assert ask(hub, api, "bob")[0] == 200
        visitor = enter("bob")
        expect(visitor.get_by_role("link", name="Server of alan")).to_be_visible()
        open_server(visitor, hub)

        server.goto(f"{hub.url}home")
        others = server.locator("section").filter(has_text="Visitors of your servers")
        expect(others).to_contain_text("bob opened your server")
        server.goto(f"{hub.url}shares")
        server.get_by_role("button", name="Revoke the share of bob").click()
        expect(server.get_by_text("Not shared.")).to_be_visible()

        _, bob = ask(hub, "/hub/api/user", "bob")
        assert not any("alan" in scope for scope in bob["scopes"])
        # What the server has learned of a visitor it believes for five minutes; one
        # who comes anew is asked for at the hub.
        again = enter("bob")
        again.goto(f"{hub.url.removesuffix('hub/')}user/alan/")
        expect(again.get_by_text("do not have permission to access")).to_be_visible()
        again.goto(f"{hub.url}home")
        expect(again.get_by_role("link", name="Server of alan")).to_have_count(0)

    def test_a_group_is_let_in(
        self, hub: RunningHub, enter: Callable[[str], Page], server: Page
    ) -> None:
        address = f"{hub.url.removesuffix('hub/')}user/alan/"
        visitor = enter("frank")
        visitor.goto(address)
        expect(visitor.get_by_text("do not have permission to access")).to_be_visible()

        shared, _ = ask(hub, "/hub/api/shares/alan/", "alan", {"group": "team"})

        assert shared == 200
        open_server(visitor, hub)

    def test_a_link_is_accepted_in_the_browser(
        self, hub: RunningHub, enter: Callable[[str], Page], server: Page
    ) -> None:
        server.get_by_text("Create link").first.click()
        server.get_by_role("button", name="Create link").click()
        link = server.get_by_role("textbox", name="Link").input_value()

        visitor = enter("eve")
        visitor.goto(link)
        expect(
            visitor.get_by_role("heading", name="Use a server of alan?")
        ).to_be_visible()
        visitor.get_by_role("button", name="Accept").click()
        visitor.get_by_role("button", name="Authorize").click()
        visitor.wait_for_url(re.compile("/user/alan/lab"))

        server.goto(f"{hub.url}shares")
        expect(server.get_by_role("cell", name="1 time")).to_be_visible()
        server.get_by_role("button", name="Revoke the link").click()
        late = enter("mallory")
        assert (reply := late.goto(link)) and reply.status == 404

    def test_an_administrator_is_seen_by_the_owner(
        self, hub: RunningHub, enter: Callable[[str], Page], server: Page
    ) -> None:
        admin = enter("ada")
        admin.goto(f"{hub.url}admin/servers/server/?q=alan")
        admin.locator("input[name=_selected_action]").first.check()
        admin.locator("select[name=action]").select_option("open")
        admin.get_by_role("button", name="Go").click()
        with admin.context.expect_page() as opened:
            admin.get_by_role("link", name="alan/").click()
        tab = opened.value
        tab.get_by_role("button", name="Authorize").click()
        tab.wait_for_url(re.compile("/user/alan/lab"))

        server.goto(f"{hub.url}home")
        others = server.locator("section").filter(has_text="Visitors of your servers")
        expect(others).to_contain_text("ada opened your server")
        admin.goto(f"{hub.url}admin/audit/event/?action=server.open")
        expect(
            admin.get_by_role("row").filter(has_text="opened").first
        ).to_contain_text("ada")
