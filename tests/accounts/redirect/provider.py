"""An identity provider that speaks OAuth 2.0 and OpenID Connect as eight others do.

It checks what real ones check: the client and its secret, the redirect address exactly
as it was registered, the code's single use, and the proof of PKCE. Each shape stands
below a path of its own, such as `/github/`, with the paths, claims and further calls of
the provider that it stands for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.accounts.redirect.http import Asked, Reply, Site

CLIENT_ID, CLIENT_SECRET = "hub", "provider-secret"


@dataclass
class Person:
    """Somebody with an account at the provider."""

    name: str = "Grace"
    email: str = "grace@uni.example"
    number: int = 7
    groups: list[str] = field(default_factory=lambda: ["staff"])
    is_verified: bool = True
    idp: str = "https://idp.uni.example/shibboleth"
    hd: str = "uni.example"
    # More claims, which replace others of the same name.
    more: dict[str, Any] = field(default_factory=dict)


class Provider(Site):
    """The provider, whose browser session is that of `person`."""

    def __init__(self) -> None:
        super().__init__()
        self.person = Person()
        self.redirect_uri = ""
        self.denies = False
        # A page with a button stands between, as a person sees it.
        self.shows_page = False
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, Person] = {}
        self.revoked: list[str] = []
        self.key = rsa.generate_private_key(65537, 2048)

    # What a person's browser asks

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/jwks":
            return Reply(body={"keys": [self.public_key()]})
        shape, _, rest = asked.path.removeprefix("/").partition("/")
        if rest == ".well-known/openid-configuration":
            return Reply(body=self.configuration(shape))
        if rest in ("authorize", "login/oauth/authorize", "oauth/authorize"):
            return self.authorize(asked)
        if rest in ("token", "login/oauth/access_token", "oauth/token"):
            return self.token(shape, asked)
        if rest == "oauth2/v4/token":
            return self.token(shape, asked)
        if rest == "revoke":
            self.revoked.append(asked.form.get("token", ""))
            return Reply(body={"active": False})
        if rest == "logged-out":
            return Reply(body="<h1>Signed out at the provider</h1>")
        person = self.tokens.get(bearer(asked))
        if person is None:
            return Reply(401, {"message": "Bad credentials"})
        return self.resource(shape, rest, person)

    def authorize(self, asked: Asked) -> Reply:
        query = asked.query
        if query.get("client_id") != CLIENT_ID:
            return Reply(400, "<h1>Unknown client</h1>")
        if query.get("redirect_uri") != self.redirect_uri:
            return Reply(400, f"<h1>Not registered: {query.get('redirect_uri')}</h1>")
        if self.shows_page and "agreed" not in query:
            fields = "".join(
                f'<input type="hidden" name="{name}" value="{value}">'
                for name, value in {**query, "agreed": "yes"}.items()
            )
            return Reply(
                body=f"<form><p>Example University</p>{fields}"
                f"<button>Continue as {self.person.name}</button></form>"
            )
        found = {"state": query.get("state", "")}
        if self.denies:
            found["error"] = "access_denied"
            found["error_description"] = "The person said no"
        else:
            found["code"] = secrets.token_urlsafe(16)
            self.codes[found["code"]] = query
        return Reply(
            302, headers={"Location": f"{self.redirect_uri}?{urlencode(found)}"}
        )

    # What the hub asks

    def token(self, shape: str, asked: Asked) -> Reply:
        form = asked.form
        if credentials(asked) != (CLIENT_ID, CLIENT_SECRET):
            return Reply(401, {"error": "invalid_client"})
        begun = self.codes.pop(form.get("code", ""), None)
        if begun is None or form.get("redirect_uri") != begun["redirect_uri"]:
            return Reply(400, {"error": "invalid_grant"})
        if challenge := begun.get("code_challenge"):
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != challenge:
                return Reply(400, {"error": "invalid_grant"})
        access = secrets.token_urlsafe(16)
        self.tokens[access] = self.person
        scope = begun.get("scope", "")
        found: dict[str, Any] = {
            "access_token": access,
            "token_type": "bearer",
            "scope": scope.replace(" ", ",") if shape == "github" else scope,
            "expires_in": 3600,
        }
        if shape not in ("github", "gitlab"):
            found["id_token"] = self.id_token(shape, self.person)
        if shape != "github":
            found["refresh_token"] = secrets.token_urlsafe(16)
        if shape == "globus":
            groups = {**found, "resource_server": "groups.api.globus.org"}
            transfer = {**found, "resource_server": "transfer.api.globus.org"}
            found["resource_server"] = "auth.globus.org"
            found["other_tokens"] = [groups, transfer]
        return Reply(body=found)

    def resource(self, shape: str, path: str, person: Person) -> Reply:
        """Answer a call with a person's access token."""
        if path in ("userinfo", "api/v3/user", "api/v4/user", "oauth2/v1/userinfo"):
            return Reply(body=self.claims(shape, person))
        if path == "api/v3/user/emails":
            return Reply(body=[{"email": person.email, "primary": True}])
        if path == "api/v3/user/teams":
            teams = [group.split(":") for group in person.groups if ":" in group]
            return Reply(
                body=[
                    {"slug": team, "organization": {"login": organization}}
                    for organization, team in teams
                ]
            )
        if path.startswith("api/v3/orgs/"):
            _, _, _, organization, *rest = path.split("/")
            group = f"{organization}:{rest[1]}" if rest[0] == "teams" else organization
            # GitHub's names have no case.
            is_member = (
                rest[-1].lower() == person.name.lower() and group in person.groups
            )
            return Reply(204) if is_member else Reply(404, {"message": "Not Found"})
        if path == "api/v4/version":
            return Reply(body={"version": "17.5.1-ee"})
        if path.startswith("api/v4/groups/"):
            parts = path.split("/")
            is_member = parts[3] in person.groups and parts[-1] == str(person.number)
            return Reply(200, {"access_level": 30}) if is_member else Reply(404, {})
        if path == "my_groups":
            return Reply(body=[{"id": group} for group in person.groups])
        return Reply(404, {"message": "Not Found"})

    def claims(self, shape: str, person: Person) -> dict[str, Any]:
        """Return what this kind of provider says of a person."""
        name = person.name.lower()
        common = {"sub": str(person.number), "email": person.email, "name": person.name}
        found = {
            "generic": {
                **common,
                "preferred_username": person.name,
                "groups": person.groups,
            },
            "github": {"id": person.number, "login": person.name, "email": None},
            "gitlab": {"id": person.number, "username": person.name},
            "google": {
                **common,
                "id": str(person.number),
                "hd": person.hd,
                "verified_email": person.is_verified,
            },
            "azure": {
                **common,
                "oid": str(person.number),
                "preferred_username": person.email,
                "groups": person.groups,
            },
            "auth0": {**common, "nickname": name, "email_verified": person.is_verified},
            "cilogon": {**common, "idp": person.idp, "eppn": person.email},
            "globus": {**common, "preferred_username": person.email},
        }[shape]
        return {**found, **person.more}

    def id_token(self, shape: str, person: Person) -> str:
        now = int(time.time())
        about = {"iss": f"{self.url}/{shape}", "aud": CLIENT_ID, "iat": now}
        claims = {**self.claims(shape, person), **about, "exp": now + 300}
        return jwt.encode(claims, self.key, "RS256", headers={"kid": "1"})

    def public_key(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        return {**found, "kid": "1", "alg": "RS256", "use": "sig"}

    def configuration(self, shape: str) -> dict[str, Any]:
        base = f"{self.url}/{shape}"
        return {
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
        }


def bearer(asked: Asked) -> str:
    kind, _, token = asked.headers.get("Authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


def credentials(asked: Asked) -> tuple[str, str]:
    """Return the client of a call, from its header or its form."""
    kind, _, text = asked.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        name, _, secret = base64.b64decode(text).decode().partition(":")
        return name, secret
    return asked.form.get("client_id", ""), asked.form.get("client_secret", "")
