"""What follows a sign-in by OAuthenticator: groups, auth state, refreshes."""

from __future__ import annotations

import time
from typing import Any

from tests.accounts.redirect.conftest import path_of

# Seconds until the hub asks the class about a person again.
AGE = 1


def test_a_person_follows_the_provider(oauth: Any, provider: Any) -> None:
    base = f"{provider.url}/generic"
    browser = oauth(
        "generic-oauth",
        "GenericOAuthenticator",
        {
            "authorize_url": f"{base}/authorize",
            "token_url": f"{base}/token",
            "userdata_url": f"{base}/userinfo",
            "username_claim": "preferred_username",
            "allow_all": True,
            "enable_auth_state": True,
            "manage_groups": True,
            "auth_state_groups_key": "oauth_user.groups",
            "admin_groups": {"hub-admins"},
        },
        f"c.Authenticator.auth_refresh_age = {AGE}",
    )

    browser.get("/hub/oauth_login?next=/hub/token")

    me = browser.me()
    assert me and (me["name"], me["groups"], me["admin"]) == ("grace", ["staff"], False)
    state = browser.get("/hub/api/users/grace").json()["auth_state"]
    assert state["access_token"] in provider.tokens
    assert state["oauth_user"]["groups"] == ["staff"]

    # Others change the person at the provider.
    provider.person.groups = ["staff", "hub-admins"]
    time.sleep(AGE)
    me = browser.me()
    assert me and sorted(me["groups"]) == ["hub-admins", "staff"]
    assert me["admin"]

    # The provider ends the access; the session of the hub is suspended.
    people, provider.tokens = provider.tokens, {}
    time.sleep(AGE)
    assert browser.me() is None
    assert path_of(browser.get("/hub/token")).startswith("/hub/login?next=")

    # The provider takes it back, and the same browser is in.
    provider.tokens = people
    assert browser.name == "grace"
    assert path_of(browser.get("/hub/token")) == "/hub/token"
