"""A learning platform that launches the hub by LTI 1.1 and by LTI 1.3.

Launches of 1.1 are signed by oauthlib, those of 1.3 by PyJWT.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from oauthlib.oauth1 import SIGNATURE_TYPE_BODY, Client

from tests.accounts.redirect.http import Asked, Reply, Site

KEY, SECRET = "consumer", "consumer-secret"
CLIENT_ID = "tool-1"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"


def launch_11(url: str, secret: str = SECRET, **more: str) -> dict[str, str]:
    """Return the signed form of a launch at an address, as the platform posts it."""
    form = {
        "lti_message_type": "basic-lti-launch-request",
        "lti_version": "LTI-1p0",
        "resource_link_id": "course-1",
        "user_id": "Grace",
        "roles": "Learner",
        "context_id": "course",
        "oauth_callback": "about:blank",
        **more,
    }
    client = Client(KEY, client_secret=secret, signature_type=SIGNATURE_TYPE_BODY)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    _, _, body = client.sign(url, "POST", urlencode(form), headers)
    return dict(parse_qsl(body, keep_blank_values=True))


class LearningPlatform(Site):
    """A platform of LTI 1.3, in which `person` opens the course's link.

    `/course` is a page that shows the tool in a frame, as such platforms do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.person = {"sub": "u-1", "given_name": "Grace", "email": "g@uni.example"}
        self.more: dict[str, Any] = {}
        # The hub as browsers reach it, and the page of the hub that the link opens.
        self.hub = ""
        self.target = ""
        self.key = rsa.generate_private_key(65537, 2048)

    @property
    def issuer(self) -> str:
        return self.url

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/jwks":
            found = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
            return Reply(body={"keys": [{**found, "kid": "1", "alg": "RS256"}]})
        if asked.path == "/authorize":
            return self.authorize(asked.query)
        if asked.path == "/course":
            return Reply(
                body='<h1>Course</h1><iframe name="tool" src="/begin"></iframe>'
            )
        if asked.path == "/begin":
            return Reply(
                body=self.form(f"{self.hub}/hub/lti13/oauth_login", self.begin())
            )
        return Reply(404, "nothing")

    def begin(self) -> dict[str, str]:
        """Return the form of login initiation."""
        return {
            "iss": self.issuer,
            "login_hint": "hint",
            "target_link_uri": self.target or f"{self.hub}/hub",
            "client_id": CLIENT_ID,
            "lti_message_hint": "m",
        }

    def authorize(self, query: dict[str, str]) -> Reply:
        """Return the page that posts the launch to the hub, in the person's browser."""
        assert query["response_mode"] == "form_post", query
        assert query["client_id"] == CLIENT_ID, query
        return Reply(body=self.form(query["redirect_uri"], self.launch(query)))

    def launch(self, query: dict[str, str]) -> dict[str, str]:
        return {"state": query["state"], "id_token": self.id_token(query["nonce"])}

    def id_token(self, nonce: str, **more: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            f"{CLAIM}message_type": "LtiResourceLinkRequest",
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": "d",
            f"{CLAIM}target_link_uri": self.target or f"{self.hub}/hub",
            f"{CLAIM}resource_link": {"id": "course-1"},
            f"{CLAIM}roles": [],
            **self.person,
            **self.more,
            **more,
        }
        return jwt.encode(claims, self.key, "RS256", headers={"kid": "1"})

    @staticmethod
    def form(action: str, fields: dict[str, str]) -> str:
        """Return a page that posts itself, as platforms send one."""
        inputs = "".join(
            f'<input type="hidden" name="{name}" value="{value}">'
            for name, value in fields.items()
        )
        return (
            f'<form method="post" action="{action}">{inputs}</form>'
            "<script>document.forms[0].submit()</script>"
        )
