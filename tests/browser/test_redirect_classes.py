"""Sign-ins by classes that lead elsewhere, in a browser and with a whole hub.

In each, a person signs in, starts JupyterLab, and is signed out everywhere.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from installation.packages import AUTHENTICATORS
from tests.accounts.redirect.conftest import settings_of
from tests.accounts.redirect.learning import CLIENT_ID as TOOL
from tests.accounts.redirect.learning import LearningPlatform
from tests.accounts.redirect.provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.browser.conftest import Chromium
from tests.hubsite.conftest import RunningHub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("notebook")]

PATIENCE = 240
# Milliseconds until JupyterLab is up.
LAB = PATIENCE * 1000


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[str], RunningHub]]:
    """Start a hub with a class; nothing of it is left afterwards."""
    environment = {"PYTHONPATH": str(AUTHENTICATORS)}
    hub = RunningHub(tmp_path, environment)

    def start(text: str) -> RunningHub:
        root = ["--allow-root"] if os.geteuid() == 0 else []
        hub.declare(f"""
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{tmp_path}/homes/{{username}}"
c.Spawner.args = {root!r}
c.Spawner.start_timeout = c.Spawner.http_timeout = {PATIENCE}
{text}
""")
        hub.start()
        return hub

    yield start
    if hub.process and hub.process.poll() is None:
        hub.stop()
    for _, pid in list(hub.processes()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def context(chromium: Chromium) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    yield context
    chromium.close([context])


@pytest.fixture
def embedding(chromium: Chromium, tmp_path: Path) -> Iterator[BrowserContext]:
    """A browser that accepts cookies of sites in frames.

    Windows without a profile refuse them, as private windows do.
    """
    profile = tmp_path / "profile"
    (profile / "Default").mkdir(parents=True)
    accepts = {"profile": {"cookie_controls_mode": 0}}
    (profile / "Default" / "Preferences").write_text(json.dumps(accepts))
    context = chromium.kind.launch_persistent_context(
        profile, executable_path=chromium.program, args=[chromium.mark]
    )
    context.set_default_timeout(60_000)
    yield context
    chromium.close([context])


def origin_of(hub: RunningHub) -> str:
    return hub.url.removesuffix("/hub/")


def expect_lab(frame: Any) -> None:
    """Wait for JupyterLab with its launcher."""
    expect(frame.locator("#jp-main-dock-panel")).to_be_visible(timeout=LAB)


def expect_signed_out(page: Page, hub: RunningHub, name: str) -> None:
    """Neither the hub nor the server knows the browser's person any more."""
    request = page.context.request
    assert request.get(f"{hub.url}api/user").status == 403
    server = request.get(f"{origin_of(hub)}/user/{name}/api/status")
    assert server.status == 403


def test_generic_oauth(
    begin: Callable[[str], RunningHub], context: BrowserContext
) -> None:
    with Provider() as provider:
        provider.shows_page = True
        base = f"{provider.url}/generic"
        settings = settings_of(
            "GenericOAuthenticator",
            {
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "authorize_url": f"{base}/authorize",
                "token_url": f"{base}/token",
                "userdata_url": f"{base}/userinfo",
                "username_claim": "preferred_username",
                "login_service": "Example University",
                "allow_all": True,
            },
        )
        hub = begin(
            "\n".join([*settings, "c.JupyterHub.authenticator_class='generic-oauth'"])
        )
        # The class derives it from the address that the browser has used.
        provider.redirect_uri = f"{hub.url}oauth_callback"
        page = context.new_page()
        page.goto(f"{origin_of(hub)}/")
        page.get_by_role("link", name="Sign in with Example University").click()
        page.get_by_role("button", name="Continue as Grace").click()

        # As in JupyterHub, the person's server is started at once.
        page.wait_for_url("**/user/grace/lab**", timeout=LAB)
        expect_lab(page)

        # A launch in the same browser while the server runs leads to the server.
        page.goto(f"{hub.url}oauth_login")
        page.get_by_role("button", name="Continue as Grace").click()
        page.wait_for_url("**/user/grace/**", timeout=LAB)

        page.goto(f"{hub.url}logout")
        page.get_by_role("heading", name="Sign in").wait_for()
        expect_signed_out(page, hub, "grace")


def test_lti_in_a_frame(
    begin: Callable[[str], RunningHub], embedding: BrowserContext
) -> None:
    """The platform is another site, so all cookies of the hub are third-party ones."""
    with LearningPlatform() as platform:
        # `localhost` and 127.0.0.1 are different sites.
        course = f"http://localhost:{platform.port}"
        policy = f"frame-ancestors 'self' {course}"
        server = {
            "headers": {"Content-Security-Policy": policy},
            "cookie_options": {"SameSite": "None", "Secure": True},
        }
        root = ["--allow-root"] if os.geteuid() == 0 else []
        arguments = [*root, f"--ServerApp.tornado_settings={server!r}"]
        settings = settings_of(
            "LTI13Authenticator",
            {
                "issuer": platform.issuer,
                "client_id": {TOOL},
                "authorize_url": f"{platform.url}/authorize",
                "jwks_endpoint": f"{platform.url}/jwks",
                "username_key": "given_name",
                "allow_all": True,
            },
        )
        hub = begin(
            "\n".join(
                [
                    *settings,
                    "c.JupyterHub.authenticator_class = "
                    "'ltiauthenticator.lti13.auth.LTI13Authenticator'",
                    f"c.JupyterHub.tornado_settings = {server!r}",
                    f"c.Spawner.args = {arguments!r}",
                ]
            )
        )
        platform.hub = origin_of(hub)
        platform.target = f"{platform.hub}/hub/user-redirect/lab"
        page = embedding.new_page()

        page.goto(f"{course}/course")

        tool = page.frame_locator("iframe[name=tool]")
        expect_lab(tool)
        frame = page.frame(name="tool")
        assert frame is not None
        assert urlsplit(frame.url).path.startswith("/user/grace/lab")
        for cookie in embedding.cookies(platform.hub):
            found = (cookie["name"], cookie.get("sameSite"), cookie.get("secure"))
            assert found[1:] == ("None", True), found

        # The next person of the same computer opens their own server.
        platform.person = {"sub": "u-2", "given_name": "Ada"}
        page.goto(f"{course}/course")
        expect_lab(page.frame_locator("iframe[name=tool]"))
        frame = page.frame(name="tool")
        assert frame is not None
        assert urlsplit(frame.url).path.startswith("/user/ada/lab")

        outside = embedding.new_page()
        outside.goto(f"{hub.url}logout")
        expect_signed_out(outside, hub, "ada")


def test_several_classes(
    begin: Callable[[str], RunningHub], context: BrowserContext
) -> None:
    hub = begin("""
from oauthenticator.github import GitHubOAuthenticator

c.JupyterHub.authenticator_class = "multiauthenticator.MultiAuthenticator"
c.MultiAuthenticator.authenticators = [
    {
        "authenticator_class": GitHubOAuthenticator,
        "url_prefix": "/github",
        "config": {"client_id": "i", "allow_all": True},
    },
    {
        "authenticator_class": "dummy",
        "url_prefix": "/guests",
        "config": {"allow_all": True, "password": "a-long-password"},
    },
]
c.MultiAuthenticator.username_prefix = ""
c.Authenticator.allow_all = True
""")
    page = context.new_page()
    page.goto(f"{hub.url}login")
    page.get_by_role("button", name="Sign in with GitHub").wait_for()
    # The other button has no name, because the class has none.
    page.locator("a[href^='/hub/guests/login']").click()
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password").fill("a-long-password")
    page.get_by_role("button", name="Sign in", exact=True).click()

    page.wait_for_url("**/user/grace/lab**", timeout=LAB)
    expect_lab(page)

    page.goto(f"{hub.url}logout")
    page.get_by_role("heading", name="Sign in").wait_for()
    expect_signed_out(page, hub, "grace")
