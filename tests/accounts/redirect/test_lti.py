"""LTI 1.1 and LTI 1.3, with launches that a library has signed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.accounts.redirect.conftest import (
    NEWEST,
    OLDEST,
    Browser,
    HostingHub,
    path_of,
    settings_of,
    text_of,
)
from tests.accounts.redirect.learning import (
    CLIENT_ID,
    KEY,
    SECRET,
    LearningPlatform,
    launch_11,
)

RELEASES = pytest.mark.parametrize(
    "plugins",
    [
        pytest.param(NEWEST, id="newest"),
        pytest.param(OLDEST, id="oldest", marks=pytest.mark.slow),
    ],
)


def fields_of(html: str) -> dict[str, str]:
    """Return the hidden fields of a page of the platform."""
    return dict(re.findall('name="([^"]+)" value="([^"]*)"', html))


@pytest.fixture
def lti11(shared: HostingHub) -> Callable[[Any], Browser]:
    def begin(plugins: Any) -> Browser:
        lines = settings_of(
            "LTI11Authenticator",
            {
                "consumers": {KEY: SECRET},
                "username_key": "user_id",
                "allow_all": True,
            },
        )
        name = "ltiauthenticator.lti11.auth.LTI11Authenticator"
        lines.append(f"c.JupyterHub.authenticator_class = {name!r}")
        shared.host_class("\n".join(lines), plugins)
        return Browser(shared)

    return begin


class TestLTI11:
    @RELEASES
    def test_a_launch(self, lti11: Callable[[Any], Browser], plugins: Any) -> None:
        browser = lti11(plugins)
        url = f"{browser.origin}/hub/lti/launch"

        form = launch_11(url, custom_next="/hub/token")
        response = browser.post(url, form)
        assert path_of(response) == "/hub/token"
        assert browser.name == "grace"

        # A launch counts once.
        other = Browser(browser.hub)
        assert other.post(url, form).status_code in (400, 401)
        assert other.name == ""
        # Nor does one that somebody else has signed.
        forged = launch_11(url, secret="guessed")
        assert other.post(url, forged).status_code in (400, 401)
        # Nor one for another address.
        moved = launch_11(f"https://elsewhere.example{urlsplit(url).path}")
        assert other.post(url, moved).status_code in (400, 401)
        assert other.name == ""

        # On a shared computer the next person takes over.
        response = browser.post(url, launch_11(url, user_id="Ada"))
        assert path_of(response) == "/hub/home"
        assert browser.name == "ada"

        # A signed launch leads nowhere else.
        away = launch_11(url, custom_next="https://evil.example/")
        response = browser.post(url, away, allow_redirects=False)
        assert response.headers["Location"].startswith("/")
        assert "evil" not in response.headers["Location"]

    def test_behind_a_front_server(self, site: HostingHub) -> None:
        """The signature is over the address that the browser has used."""
        site.env["HUB_TRUSTED_PROXIES"] = "127.0.0.1"
        for line in settings_of(
            "LTI11Authenticator",
            {"consumers": {KEY: SECRET}, "username_key": "user_id", "allow_all": True},
        ):
            site.declare(line)
        name = "ltiauthenticator.lti11.auth.LTI11Authenticator"
        site.declare(f"c.JupyterHub.authenticator_class = {name!r}")
        site.declare("c.JupyterHub.redirect_to_server = False")
        site.start_both()
        browser = Browser(site)
        seen = {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "hub.example.org",
            "X-Forwarded-For": "192.0.2.7",
        }

        form = launch_11("https://hub.example.org/hub/lti/launch")
        response = browser.post(
            "/hub/lti/launch", form, headers=seen, allow_redirects=False
        )

        assert response.status_code == 302, response.text
        assert "jupyterhub-session-id" in response.headers["Set-Cookie"]


@pytest.fixture
def lti13(shared: HostingHub, platform: LearningPlatform) -> Callable[[Any], Browser]:
    def begin(plugins: Any) -> Browser:
        lines = settings_of(
            "LTI13Authenticator",
            {
                "issuer": platform.issuer,
                "client_id": CLIENT_ID if plugins is OLDEST else {CLIENT_ID},
                "authorize_url": f"{platform.url}/authorize",
                "jwks_endpoint": f"{platform.url}/jwks",
                "username_key": "given_name",
                "allow_all": True,
            },
        )
        name = "ltiauthenticator.lti13.auth.LTI13Authenticator"
        lines.append(f"c.JupyterHub.authenticator_class = {name!r}")
        shared.host_class("\n".join(lines), plugins)
        browser = Browser(shared)
        platform.hub = browser.origin
        return browser

    return begin


class TestLTI13:
    @RELEASES
    def test_a_launch(
        self,
        lti13: Callable[[Any], Browser],
        platform: LearningPlatform,
        plugins: Any,
    ) -> None:
        browser = lti13(plugins)
        platform.target = f"{browser.origin}/hub/token"

        def begin() -> dict[str, str]:
            first = browser.post("/hub/lti13/oauth_login", platform.begin())
            assert first.status_code == 200, first.text
            return fields_of(first.text)

        launched = begin()
        # Another browser can't use the launch.
        thief = Browser(browser.hub)
        stolen = thief.post("/hub/lti13/oauth_callback", launched)
        assert stolen.status_code == 400
        assert thief.name == ""

        response = browser.post("/hub/lti13/oauth_callback", launched)
        assert path_of(response) == "/hub/token", response.text
        assert browser.name == "grace"

        # Another person of the same computer.
        platform.person = {"sub": "u-2", "given_name": "Ada"}
        browser.post("/hub/lti13/oauth_callback", begin())
        assert browser.name == "ada"

        refused = Browser(browser.hub)
        for changes, status in (
            ({"aud": "somebody-else"}, 401),
            ({"iss": "https://elsewhere.example"}, 400),
            ({"exp": 1}, 400),
            ({"nonce": "of-another"}, 400),
        ):
            platform.more = changes
            form = fields_of(
                refused.post("/hub/lti13/oauth_login", platform.begin()).text
            )
            answer = refused.post("/hub/lti13/oauth_callback", form)
            assert answer.status_code == status, (changes, text_of(answer))
            assert refused.name == ""

    def test_what_the_platform_reads(
        self, lti13: Callable[[Any], Browser], platform: LearningPlatform
    ) -> None:
        """The tool's configuration, and login initiation by a link."""
        browser = lti13(NEWEST)

        found = browser.get("/hub/lti13/config").json()
        assert found["oidc_initiation_url"] == f"{browser.origin}/hub/lti13/oauth_login"

        begun = browser.step("/hub/lti13/oauth_login", params=platform.begin())
        at = urlsplit(begun.headers["Location"])
        assert f"{at.scheme}://{at.netloc}" == platform.url
        asked = dict(parse_qsl(at.query))
        assert asked["redirect_uri"] == f"{browser.origin}/hub/lti13/oauth_callback"
        # A way back by a link is none.
        assert browser.get("/hub/lti13/oauth_callback").status_code == 405
