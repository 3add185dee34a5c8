"""A client, a visitor's browser, and the steps of a sign-in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.test import Client

from accounts.models import User
from oauth.models import OAuthClient
from tests.factories import make_client, make_role

AUTHORIZE = "/hub/api/oauth2/authorize"
TOKEN = "/hub/api/oauth2/token"
SECRET = "portal-secret-29c0ffee11"


@dataclass
class SignIn:
    """A person who signs in to a client."""

    client: OAuthClient
    browser: Client
    query: dict[str, str] = field(default_factory=dict)

    def path(self, **changes: Any) -> str:
        query = {
            "client_id": self.client.identifier,
            "redirect_uri": self.client.redirect_uri,
            "response_type": "code",
            "state": "s t/ate",
            **self.query,
            **changes,
        }
        kept = {key: value for key, value in query.items() if value is not None}
        return f"{AUTHORIZE}?{urlencode(kept)}"

    def ask(self, **changes: Any) -> Any:
        return self.browser.get(self.path(**changes))

    def agree(self, page: Any, scopes: list[str] | None = None, **changes: Any) -> Any:
        if scopes is None:
            scopes = scopes_on(page)
        return self.browser.post(self.path(**changes), {"scopes": scopes})

    def code(self, **changes: Any) -> str:
        reply = self.ask(**changes)
        if reply.status_code == 200:
            reply = self.agree(reply, **changes)
        assert reply.status_code == 302, reply.content
        return sent_back(reply)["code"]

    def trade(self, code: str, **changes: Any) -> Any:
        fields = {
            "client_id": self.client.identifier,
            "client_secret": SECRET,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.client.redirect_uri,
            **changes,
        }
        kept = {key: value for key, value in fields.items() if value is not None}
        return Client().post(
            TOKEN, urlencode(kept), content_type="application/x-www-form-urlencoded"
        )

    def token(self, **changes: Any) -> dict[str, Any]:
        reply = self.trade(self.code(**changes))
        assert reply.status_code == 200, reply.content
        return reply.json()


def scopes_on(page: Any) -> list[str]:
    """Return what the form would grant."""
    found = re.findall(r'name="scopes" value="([^"]*)"', page.content.decode())
    return [unescape(scope) for scope in found]


def sent_back(reply: Any) -> dict[str, str]:
    """Return the parameters with which a redirect leads back to a client."""
    query = parse_qs(urlsplit(reply["Location"]).query)
    return {key: values[0] for key, values in query.items()}


@pytest.fixture
def portal(db: None) -> OAuthClient:
    """A client that everybody may use, and that may ask for a few things."""
    make_role("visitors", "access:services!service=portal")
    return make_client(
        "portal",
        SECRET,
        description="JupyterHub service portal",
        allowed_scopes=["read:users!user", "tokens!user", "admin:groups"],
    )


@pytest.fixture
def visitor(portal: OAuthClient, mallory: User) -> User:
    make_role("visitors", "access:services!service=portal", users=[mallory])
    return mallory


@pytest.fixture
def sign_in(portal: OAuthClient, visitor: User, as_: Any) -> SignIn:
    return SignIn(portal, as_(visitor))
