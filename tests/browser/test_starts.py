"""Start servers in a hub with a real controller and a base URL.

The servers are stubs; the configuration has the differences between people.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Chromium, Window
from tests.hubsite.conftest import RunningHub
from tests.servers import stub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("starts")]

PATIENCE = 60_000
PASSWORD = "open-sesame"
BASE = "/campus/"

CONFIG = """
import os
c.JupyterHub.bind_url += "{base}"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "{password}"
c.JupyterHub.redirect_to_server = False
c.JupyterHub.allow_named_servers = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{homes}/{{username}}"
c.Spawner.cmd = {command!r}
c.Spawner.poll_interval = 3600

def form(spawner):
    if spawner.user.name != "chooser":
        return ""
    return '''
        <label>Size
          <select name="size"><option>small</option><option>big</option></select>
        </label>
        <label>Packages <input type="file" name="packages"></label>
        <p id="inline"></p>
        <script>$("#inline").text("This script has run")</script>
    '''

def options(data):
    if data["size"] == ["big"]:
        raise ValueError("There is no room for big ones")
    file = data["packages_file"][0]
    return {{"size": data["size"][0], "packages": file["body"].decode()}}

def start(spawner):
    if spawner.user.name == "slow":
        spawner.args = ["--hang"]
    if spawner.user.name == "unlucky":
        problem = RuntimeError("a secret")
        problem.jupyterhub_message = "The home folder of unlucky is full"
        problem.jupyterhub_html_message = "The home folder of <b>unlucky</b> is full"
        raise problem
    if spawner.user.name == "chooser":
        spawner.environment["PACKAGES"] = spawner.user_options["packages"]

c.Spawner.options_form = form
c.Spawner.options_from_form = options
c.Spawner.pre_spawn_hook = start
"""


class CampusHub(RunningHub):
    """A hub that is not at the root of its host."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}hub/"

    @property
    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}{BASE}hub/"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder: Path = tmp_path_factory.mktemp("starts")
    hub = CampusHub(folder, {})
    command = [sys.executable, "-S", "-E", str(stub.__file__)]
    hub.declare(
        CONFIG.format(
            base=BASE, password=PASSWORD, homes=folder / "homes", command=command
        )
    )
    hub.start()
    yield hub
    hub.stop()
    left = servers_of(hub)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "servers run on after their hub"


def servers_of(hub: RunningHub, user: str = "") -> list[int]:
    """Return the processes of this hub's servers, or of one user's."""
    wanted = [f"JUPYTERHUB_API_URL=http://127.0.0.1:{hub.hub_port}{BASE}hub/api"]
    wanted += [f"JUPYTERHUB_USER={user}"] if user else []
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # That of a zombie is empty.
            environ = (folder / "environ").read_bytes().decode().split("\0")
            if set(wanted) <= set(environ):
                found.append(int(folder.name))
    return found


@pytest.fixture
def visit(
    hub: RunningHub, chromium: Chromium, axe: str
) -> Iterator[Callable[[str], Window]]:
    """Sign somebody in, in a window of their own, and wait for their home."""
    contexts: list[BrowserContext] = []

    def sign_in(name: str, **options: Any) -> Window:
        context = chromium.new_context(
            viewport={"width": 1280, "height": 800}, **options
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        window = Window(
            context.new_page(), f"http://127.0.0.1:{hub.port}{BASE.rstrip('/')}", axe
        )
        page = window.open("/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", name="My server")).to_be_visible()
        return window

    yield sign_in
    chromium.close(contexts)


def answer_of(page: Page) -> Any:
    """Read what the stub answers, once the page has come to it."""
    page.wait_for_url("**/user/**", timeout=PATIENCE)
    return json.loads(page.locator("body").inner_text())


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_one_click_leads_to_the_server(
    hub: RunningHub, visit: Callable[..., Window]
) -> None:
    window = visit("we ird@x+y")
    page = window.page

    press(page, "Start my server")

    assert answer_of(page)["path"] == "/campus/user/we ird@x+y/"
    window.open("/hub/home")
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    window.survey()

    # Whoever asks for it again is there at once.
    window.open("/hub/spawn")
    assert answer_of(page)["path"] == "/campus/user/we ird@x+y/"

    window.open("/hub/home")
    press(page, "Stop my server")
    expect(page.get_by_role("button", name="Start my server")).to_be_visible(
        timeout=PATIENCE
    )
    assert not servers_of(hub, "we ird@x+y")
    window.survey()


def test_it_works_without_scripts(visit: Callable[..., Window]) -> None:
    page = visit("plain", java_script_enabled=False).page

    press(page, "Start my server")

    assert answer_of(page)["path"].startswith("/campus/user/plain/")


def test_where_one_wanted_to_go(visit: Callable[..., Window]) -> None:
    window = visit("grace")
    page = window.open("/user/grace/lab/tree/a%20b.ipynb?x=1")
    expect(page.get_by_role("heading", name="Server not running")).to_be_visible()
    window.survey()

    page.get_by_role("button", name="Launch server").click()

    assert answer_of(page)["path"] == "/campus/user/grace/lab/tree/a b.ipynb"
    assert page.url.endswith("/campus/user/grace/lab/tree/a%20b.ipynb?x=1")


def test_a_start_can_be_cancelled(
    hub: RunningHub, visit: Callable[..., Window]
) -> None:
    window = visit("slow")
    page = window.page
    press(page, "Start my server")
    expect(page.get_by_role("heading", name="Starting your server")).to_be_visible(
        timeout=PATIENCE
    )
    window.survey()

    press(page, "Cancel")

    expect(page.get_by_role("button", name="Start my server")).to_be_visible(
        timeout=PATIENCE
    )
    assert not servers_of(hub, "slow")


def test_a_start_that_fails_shows_the_reason(visit: Callable[..., Window]) -> None:
    window = visit("unlucky")
    page = window.page

    press(page, "Start my server")

    expect(page.get_by_role("alert")).to_contain_text(
        "The home folder of unlucky is full", timeout=PATIENCE
    )
    expect(page.get_by_role("alert").locator("b")).to_have_text("unlucky")
    expect(page.get_by_text("a secret")).to_have_count(0)
    window.survey()
    press(page, "Try again")
    expect(page.get_by_role("alert")).to_contain_text("unlucky is full")
    page.get_by_role("button", name="Home").click()
    expect(page.get_by_text("The last start failed")).to_be_visible()


def test_options_of_a_spawner(visit: Callable[..., Window]) -> None:
    window = visit("chooser")
    page = window.page
    press(page, "Start my server")
    expect(page.get_by_role("heading", name="Start options")).to_be_visible(
        timeout=PATIENCE
    )
    expect(page.get_by_text("This script has run")).to_be_visible()
    packages = {"name": "r.txt", "mimeType": "text/plain", "buffer": b"numpy==2.3"}

    page.get_by_label("Size").select_option("big")
    press(page, "Start")
    expect(page.get_by_role("alert")).to_contain_text("There is no room for big ones")
    window.survey()
    page.get_by_label("Packages").set_input_files(packages)
    press(page, "Start")

    page.wait_for_url("**/user/**", timeout=PATIENCE)
    page.goto(f"{page.url}env")
    found = json.loads(page.locator("body").inner_text())["env"]
    assert found["PACKAGES"] == "numpy==2.3"


def test_named_servers(hub: RunningHub, visit: Callable[..., Window]) -> None:
    window = visit("ada")
    page = window.page
    page.get_by_label("Name of the new server").fill("Größe 2")
    press(page, "Add server")
    row = page.get_by_role("row", name="Größe 2")

    row.get_by_role("button", name="Start").click()

    assert answer_of(page)["path"] == "/campus/user/ada/gro-e-2/"
    window.open("/hub/home")
    expect(row).to_contain_text("running")
    assert len(servers_of(hub, "ada")) == 1
    row.get_by_role("link", name="Delete").click()
    press(page, "Delete server")

    expect(row).to_have_count(0, timeout=PATIENCE)
    assert not servers_of(hub, "ada")


def test_a_server_that_died_is_not_shown_as_running(
    hub: RunningHub, visit: Callable[..., Window]
) -> None:
    window = visit("mallory")
    page = window.page
    press(page, "Start my server")
    answer_of(page)
    for pid in servers_of(hub, "mallory"):
        os.kill(pid, signal.SIGKILL)

    window.open("/hub/home")

    expect(page.get_by_role("button", name="Start my server")).to_be_visible()
