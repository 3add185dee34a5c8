"""From sign-in to the output of a notebook's cell, with real programs only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Chromium
from tests.hubsite.conftest import RunningHub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("notebook")]

# JupyterLab is up in a few seconds, and in many more on a machine that is busy.
PATIENCE = 240
# Seconds that a process of a server may take to see that its server has ended.
LINGER = 20
NAME, PASSWORD = "ada", "open-sesame"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    hub = RunningHub(tmp_path, {})
    arguments = ["--allow-root"] if os.geteuid() == 0 else []
    hub.declare(
        f"""
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "{PASSWORD}"
c.JupyterHub.redirect_to_server = False
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{tmp_path}/homes/{{username}}"
c.Spawner.args = {arguments!r}
c.Spawner.start_timeout = c.Spawner.http_timeout = {PATIENCE}
"""
    )
    hub.start()
    yield hub
    hub.stop()
    left = left_of(hub)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "servers run on after their hub"


def left_of(hub: RunningHub) -> dict[int, bytes]:
    """Return what still runs of this hub's servers after a while.

    A kernel whose server was killed sees within a second that it is alone, and ends.
    """
    deadline = time.monotonic() + LINGER
    while (left := servers_of(hub)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def servers_of(hub: RunningHub) -> dict[int, bytes]:
    """Return the processes that this hub's servers are made of, kernels included.

    Each with its command line.
    """
    entry = f"JUPYTERHUB_API_URL=http://127.0.0.1:{hub.hub_port}/hub/api".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # That of a zombie is empty.
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes()
    return found


@pytest.fixture
def context(chromium: Chromium) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    yield context
    chromium.close([context])


def sign_in(page: Page, hub: RunningHub) -> None:
    page.goto(hub.url)
    page.get_by_label("Username").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="My server")).to_be_visible()


def run_cell(page: Page, code: str, output: str) -> None:
    """Open a new notebook and run one cell, until its output is there."""
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    notebook = page.locator(".jp-NotebookPanel:visible")
    idle = notebook.locator("[data-status=idle]").first
    expect(idle).to_be_visible(timeout=PATIENCE * 1000)
    editor = notebook.locator(".jp-Cell .cm-content").first
    printed = notebook.locator(".jp-OutputArea-output").first
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        # A notebook that has just been opened may draw its cells once more, and what
        # was typed before is lost then.
        editor.fill(code)
        editor.press("Shift+Enter")
        with suppress(AssertionError):
            expect(printed).to_have_text(output, timeout=10_000)
            return
    expect(printed).to_have_text(output)


def test_from_sign_in_to_a_cells_output_and_back(
    hub: RunningHub, context: BrowserContext
) -> None:
    page = context.new_page()
    sign_in(page, hub)

    page.get_by_role("button", name="Start my server").click()

    page.wait_for_url("**/hub/spawn-pending/**")
    expect(page.get_by_role("progressbar")).to_be_visible()
    launcher = page.locator(".jp-Launcher")
    expect(launcher).to_be_visible(timeout=PATIENCE * 1000)
    origin = hub.url.removesuffix("/hub/")
    assert page.url.startswith(f"{origin}/user/{NAME}/lab")
    names = {cookie["name"] for cookie in context.cookies(page.url)}
    assert f"jupyterhub-user-{NAME}" in names

    run_cell(page, "print(6*7)", "42")

    with context.expect_page() as opened:
        page.get_by_role("menuitem", name="File").click()
        page.get_by_role("menuitem", name="Hub Control Panel").click()
    home = opened.value
    expect(home).to_have_url(f"{origin}/hub/home")
    expect(home.get_by_role("link", name="Open my server")).to_be_visible()
    assert servers_of(hub)

    home.get_by_role("button", name="Stop my server").click()

    start = home.get_by_role("button", name="Start my server")
    expect(start).to_be_visible(timeout=PATIENCE * 1000)
    assert not left_of(hub)
    home.goto(f"{origin}/user/{NAME}/lab")
    expect(home.get_by_role("heading", name="Server not running")).to_be_visible()
