"""OAuthenticator's classes, hosted unmodified, with a provider of each shape.

Each class is tried in its newest release, and in the oldest that is supported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.accounts.redirect.conftest import (
    NEWEST,
    OLDEST,
    OPERATOR,
    Browser,
    path_of,
    text_of,
)
from tests.accounts.redirect.provider import Provider
from tests.hubsite.conftest import wait_until

RELEASES = pytest.mark.parametrize(
    "plugins",
    [
        pytest.param(NEWEST, id="newest"),
        pytest.param(OLDEST, id="oldest", marks=pytest.mark.slow),
    ],
)
Begin = Callable[..., Browser]


def urls(provider: Provider, shape: str) -> dict[str, str]:
    base = f"{provider.url}/{shape}"
    return {
        "authorize_url": f"{base}/authorize",
        "token_url": f"{base}/token",
        "userdata_url": f"{base}/userinfo",
    }


def generic(provider: Provider, **more: Any) -> dict[str, Any]:
    return {
        **urls(provider, "generic"),
        "username_claim": "preferred_username",
        **more,
    }


def sign_in(browser: Browser, query: str = "") -> Any:
    return browser.get(f"/hub/oauth_login{query}")


def sign_in_as(browser: Browser, provider: Provider, name: str) -> Any:
    provider.person.name, provider.person.email = name, f"{name}@uni.example"
    return sign_in(Browser(browser.hub) if browser.name else browser)


class TestGeneric:
    """The configuration of case 04: groups, administrators by group, auto_login."""

    def test_it_works_unchanged(self, oauth: Begin, provider: Provider) -> None:
        provider.person.groups = ["hub-users", "hub-admins"]
        browser = oauth(
            "generic-oauth",
            "GenericOAuthenticator",
            generic(
                provider,
                manage_groups=True,
                auth_state_groups_key="oauth_user.groups",
                admin_groups={"hub-admins"},
                allowed_groups={"hub-users"},
                enable_auth_state=True,
            ),
            "c.Authenticator.auto_login = True",
        )

        # `auto_login` goes through the provider and keeps the page.
        response = browser.get("/hub/token?page=2")

        assert path_of(response) == "/hub/token?page=2"
        me = browser.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("grace", True)
        assert sorted(me["groups"]) == ["hub-admins", "hub-users"]

        # Signing out shows a page, asks the provider nothing and signs nobody in again.
        asked = len(provider.asked)
        out = browser.get("/hub/logout")
        assert path_of(out) == "/hub/logout"
        assert out.status_code == 200
        assert "You are signed out of this hub" in text_of(out)
        assert len(provider.asked) == asked
        assert browser.name == ""

        # Who is in none of the groups stays outside, in the class's words.
        provider.person.name, provider.person.groups = "Mallory", ["others"]
        refused = browser.get("/hub/login")
        assert refused.status_code == 403
        assert "not currently authorized to use this hub" in text_of(refused)
        assert browser.name == ""

    def test_the_page_has_a_button(self, oauth: Begin, provider: Provider) -> None:
        browser = oauth(
            "generic-oauth",
            "GenericOAuthenticator",
            generic(provider, login_service="Campus", allow_all=True),
        )

        page = browser.get("/hub/login?next=%2Fhub%2Ftoken")

        assert page.status_code == 200
        assert "Sign in with Campus" in text_of(page)
        links = re.findall('href="(/hub/oauth_login[^"]*)"', page.text)
        assert links == ["/hub/oauth_login?next=%2Fhub%2Ftoken"]
        assert "password" not in page.text

        assert path_of(sign_in(browser, "?next=%2Fhub%2Ftoken")) == "/hub/token"

    def test_what_goes_wrong_is_said(self, oauth: Begin, provider: Provider) -> None:
        browser = oauth(
            "generic-oauth", "GenericOAuthenticator", generic(provider, allow_all=True)
        )

        provider.denies = True
        refused = sign_in(browser)
        assert refused.status_code == 400
        assert "The person said no" in text_of(refused)
        assert "Traceback" not in refused.text

        provider.denies = False
        # A way back that this browser has not begun, as in a link from elsewhere.
        begun = browser.step("/hub/oauth_login")
        there = browser.step(begun.headers["Location"])
        other = Browser(browser.hub)
        stolen = other.get(there.headers["Location"])
        assert stolen.status_code == 400
        assert "OAuth state missing from cookies" in text_of(stolen)
        assert other.name == ""
        # Nor one that another sign-in of this browser has replaced.
        browser.step("/hub/oauth_login")
        late = browser.get(there.headers["Location"])
        assert late.status_code == 400
        assert "OAuth state mismatch" in text_of(late)
        assert browser.name == ""

        provider.codes.clear()
        failed = browser.step("/hub/oauth_login")
        back = browser.step(failed.headers["Location"]).headers["Location"]
        provider.codes.clear()
        spent = browser.get(back)
        # The provider refuses the code, which the class does not handle.
        assert spent.status_code == 500
        assert "because of an error in the program" in text_of(spent)
        assert "invalid_grant" not in spent.text
        assert browser.name == ""

        assert path_of(sign_in(browser)) == "/hub/home"
        assert browser.name == "grace"

    def test_redirects_stay_on_the_hub(self, oauth: Begin, provider: Provider) -> None:
        browser = oauth(
            "generic-oauth", "GenericOAuthenticator", generic(provider, allow_all=True)
        )
        for target in (
            "https://evil.example/x",
            "//evil.example/x",
            "///evil.example/x",
            r"/\evil.example/x",
            r"https:\\evil.example",
            "javascript:alert(1)",
        ):
            for start in ("/hub/oauth_login", "/hub/login"):
                response = browser.step(start, params={"next": target})
                for _ in range(4):
                    if "Location" not in response.headers:
                        break
                    at = response.headers["Location"]
                    assert urlsplit(at).netloc in (
                        "",
                        urlsplit(provider.url).netloc,
                        urlsplit(browser.origin).netloc,
                    ), (target, at)
                    assert not at.startswith(("//", "/\\")), (target, at)
                    if "/hub/x" in at or "evil" in urlsplit(at).path:
                        break
                    response = browser.step(at)

    def test_the_state_survives_a_restart(
        self, oauth: Begin, provider: Provider
    ) -> None:
        browser = oauth(
            "generic-oauth", "GenericOAuthenticator", generic(provider, allow_all=True)
        )
        begun = browser.step("/hub/oauth_login?next=/hub/token")

        site: Any = browser.hub
        site.stop_host()
        away = browser.get("/hub/oauth_callback?code=x&state=y")
        assert away.status_code == 503
        assert "Signing in is not possible at the moment" in text_of(away)
        # Everything else goes on.
        assert browser.get("/hub/api").status_code == 200
        site.start_host(site.folder / "other.py")
        wait_until(site.host_listens, "the host listens")

        response = browser.get(begun.headers["Location"])
        assert path_of(response) == "/hub/token"
        assert browser.name == "grace"

    def test_another_person_takes_over(self, oauth: Begin, provider: Provider) -> None:
        browser = oauth(
            "generic-oauth",
            "GenericOAuthenticator",
            generic(provider, allow_all=True, logout_redirect_url="/hub/health"),
        )
        sign_in(browser)
        assert browser.name == "grace"
        first = browser.session.cookies["jupyterhub-session-id"]

        # The same person again keeps the session.
        sign_in(browser)
        assert browser.session.cookies["jupyterhub-session-id"] == first

        provider.person.name = "Ada"
        sign_in(browser)
        assert browser.name == "ada"
        assert browser.session.cookies["jupyterhub-session-id"] != first

        out = browser.get("/hub/logout")
        assert path_of(out) == "/hub/health"
        assert browser.name == ""

    def test_a_subclass_of_the_file(self, oauth: Begin, provider: Provider) -> None:
        browser = oauth(
            "replaced",
            "GenericOAuthenticator",
            generic(provider, allow_all=True),
            """
from oauthenticator.generic import GenericOAuthenticator

class Ours(GenericOAuthenticator):
    login_service = "Ours"

    def user_info_to_username(self, user_info):
        return "u-" + user_info["sub"]

    async def update_auth_model(self, auth_model):
        auth_model = await super().update_auth_model(auth_model)
        auth_model["admin"] = True
        return auth_model

c.JupyterHub.authenticator_class = Ours
""",
        )

        assert "Sign in with Ours" in text_of(browser.get("/hub/login"))
        sign_in(browser)

        me = browser.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("u-7", True)


class TestShapes:
    """The other providers, with whom each class lets in and turns away."""

    @RELEASES
    def test_github(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        """Case 03, with the lists of the class's own section and its parents'."""
        base = f"{provider.url}/github"
        browser = oauth(
            "github",
            "GitHubOAuthenticator",
            {
                "authorize_url": f"{base}/login/oauth/authorize",
                "token_url": f"{base}/login/oauth/access_token",
                "github_api": f"{base}/api/v3",
                "userdata_url": f"{base}/api/v3/user",
                "admin_users": {"ada"},
                "allowed_users": {"grace"},
                "allowed_organizations": {"uni:physics", "lab"},
                "scope": ["read:org", "user:email"],
            },
            'c.OAuthenticator.blocked_users = {"mallory"}',
            plugins=plugins,
        )

        assert "Sign in with GitHub" in text_of(browser.get("/hub/login"))
        sign_in_as(browser, provider, "Grace")
        me = browser.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("grace", False)

        ada = Browser(browser.hub)
        provider.person.name = "Ada"
        sign_in(ada)
        me = ada.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("ada", True)

        # By organisation and by team, for which the class asks the provider.
        alan = Browser(browser.hub)
        provider.person.name, provider.person.groups = "Alan", ["uni:physics"]
        sign_in(alan)
        assert alan.name == "alan"
        assert "/github/api/v3/orgs/uni/teams/physics/members/alan" in provider.paths()

        provider.person.groups = []
        for name in ("Mallory", "Somebody"):
            stranger = Browser(browser.hub)
            provider.person.name = name
            assert sign_in(stranger).status_code == 403
            assert stranger.name == ""

    @RELEASES
    def test_gitlab(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        browser = oauth(
            "gitlab",
            "GitLabOAuthenticator",
            {
                "gitlab_url": f"{provider.url}/gitlab",
                "allowed_gitlab_groups": {"physics"},
            },
            plugins=plugins,
        )
        assert sign_in(browser).status_code == 403

        provider.person.groups = ["physics"]
        sign_in(browser)

        assert browser.name == "grace"
        assert "/gitlab/api/v4/groups/physics/members/all/7" in provider.paths()

    @RELEASES
    def test_google(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        base = f"{provider.url}/google"
        browser = oauth(
            "google",
            "GoogleOAuthenticator",
            {
                "authorize_url": f"{base}/authorize",
                "google_api_url": base,
                "hosted_domain": ["uni.example"],
                "allowed_users": {"grace", "grace@uni.example"},
            },
            plugins=plugins,
        )
        sign_in(browser)
        # Newer releases leave out the domain of the university.
        full = "grace@uni.example" if plugins is OLDEST else "grace"
        assert browser.name == full

        outside = Browser(browser.hub)
        provider.person.hd, provider.person.email = "x.example", "grace@x.example"
        assert sign_in(outside).status_code == 403
        provider.person.hd, provider.person.email = "uni.example", "grace@uni.example"
        provider.person.is_verified = False
        refused = sign_in(outside)
        assert refused.status_code == 403
        assert "unverified email" in text_of(refused)
        assert outside.name == ""

    @RELEASES
    def test_azure(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        found = urls(provider, "azure")
        del found["userdata_url"]
        browser = oauth(
            "azuread",
            "AzureAdOAuthenticator",
            {**found, "tenant_id": "t", "username_claim": "oid", "allow_all": True},
            plugins=plugins,
        )

        sign_in(browser)

        assert browser.name == "7"
        # The person is taken from the id_token.
        assert "/azure/userinfo" not in provider.paths()

    @RELEASES
    def test_auth0(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        browser = oauth(
            "auth0",
            "Auth0OAuthenticator",
            {
                **urls(provider, "auth0"),
                "auth0_domain": "uni.auth0.example",
                "username_claim": "nickname",
                "allow_all": True,
                "logout_redirect_url": f"{provider.url}/auth0/logged-out",
            },
            plugins=plugins,
        )
        sign_in(browser)
        assert browser.name == "grace"

        # Signing out leads to the provider, as the class says.
        out = browser.get("/hub/logout")
        assert "Signed out at the provider" in text_of(out)
        assert browser.name == ""

    @RELEASES
    def test_cilogon(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        idps = {
            provider.person.idp: {
                "username_derivation": {
                    "username_claim": "email",
                    "action": "strip_idp_domain",
                    "domain": "uni.example",
                },
            },
        }
        key = "allowed_idps" if plugins is OLDEST else "idps"
        browser = oauth(
            "cilogon",
            "CILogonOAuthenticator",
            {**urls(provider, "cilogon"), key: idps, "allow_all": True},
            plugins=plugins,
        )
        begun = browser.step("/hub/oauth_login")
        asked = parse_qs(urlsplit(begun.headers["Location"]).query)
        assert "org.cilogon.userinfo" in asked["scope"][0]

        sign_in(browser)
        assert browser.name == "grace"

        outside = Browser(browser.hub)
        provider.person.idp = "https://elsewhere.example"
        refused = sign_in(outside)
        assert refused.status_code == 403
        assert outside.name == ""

    @RELEASES
    def test_globus(self, oauth: Begin, provider: Provider, plugins: Any) -> None:
        browser = oauth(
            "globus",
            "GlobusOAuthenticator",
            {
                **urls(provider, "globus"),
                "globus_groups_url": f"{provider.url}/globus/my_groups",
                "revocation_url": f"{provider.url}/globus/revoke",
                "allowed_globus_groups": {"g-1"},
                "admin_globus_groups": {"g-2"},
                "revoke_tokens_on_logout": True,
                "enable_auth_state": True,
            },
            plugins=plugins,
        )
        assert sign_in(browser).status_code == 403

        provider.person.groups = ["g-1", "g-2"]
        sign_in(browser)
        me = browser.me()
        assert me is not None
        assert (me["name"], me["admin"]) == ("grace", True)

        # The class's own way of signing out empties the person's auth state.
        browser.get("/hub/logout")
        assert browser.name == ""
        assert provider.revoked
        kept = browser.hub.get("api/users/grace", OPERATOR)["auth_state"]
        assert kept["tokens"] == {}
