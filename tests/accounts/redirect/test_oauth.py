"""OAuthenticator's classes, hosted unmodified, with a provider of each shape."""

from __future__ import annotations

from tests.accounts.redirect.conftest import path_of


def test_generic(oauth, provider):
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
        },
    )

    response = browser.get("/hub/oauth_login?next=/hub/token")

    assert path_of(response) == "/hub/token", response.text
    assert browser.name == "grace"
