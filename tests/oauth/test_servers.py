"""Sign in to a server: its owner, another user, an administrator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Event
from oauth.models import OAuthClient
from servers import credentials
from servers.credentials import Requested
from servers.models import Server
from tests.factories import make_server, make_share
from tests.oauth.conftest import SignIn
from tokens.actions.revocation import revoke_tokens
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(alan: User) -> Server:
    return make_server(alan, "lab", attempt="1")


@pytest.fixture
def secret(server: Server) -> str:
    return credentials.issue_credentials(server, Requested(client=("read:users!user",)))


@pytest.fixture
def sign_in_as(secret: str, as_: Callable[[User], Client]) -> Callable[..., SignIn]:
    """Return a visit of the server in somebody's browser."""

    def visit(user: User) -> SignIn:
        return SignIn(OAuthClient.objects.get(server="alan/lab"), as_(user))

    return visit


def trade(sign_in: SignIn, code: str, secret: str) -> Any:
    return sign_in.trade(code, client_secret=secret)


def opened() -> list[tuple[str, str]]:
    acts = Event.objects.filter(action="server.open", target_kind="server")
    return list(acts.values_list("actor_name", "target_name"))


def test_owner_is_not_asked(alan: User, sign_in_as: Any, secret: str) -> None:
    visit = sign_in_as(alan)

    reply = trade(visit, visit.code(), secret)

    granted = reply.json()["scope"].split()
    assert granted == [
        "access:servers!server=alan/lab",
        "read:users!user",
        "read:users:groups!user",
        "read:users:name!user",
    ]
    bearer = verify(reply.json()["access_token"])
    assert bearer is not None and bearer.client_id == "jupyterhub-user-alan-lab"
    assert opened() == []


def test_others_are_refused(mallory: User, sign_in_as: Any) -> None:
    reply = sign_in_as(mallory).ask()

    assert reply.status_code == 403
    assert b"permission to access Server at /user/alan/lab/" in reply.content
    assert opened() == []


def test_administrator_is_asked_once_and_recorded(
    ada: User, sign_in_as: Any, secret: str
) -> None:
    visit = sign_in_as(ada)

    page = visit.ask()
    assert page.status_code == 200 and opened() == []
    reply = trade(visit, visit.code(), secret)
    assert reply.status_code == 200
    again = visit.ask()

    assert again.status_code == 302
    assert opened() == [("ada", "alan/lab")] * 2


def test_who_shares_a_server_may_open_it(
    server: Server, mallory: User, sign_in_as: Any, secret: str
) -> None:
    make_share(server, user=mallory)
    visit = sign_in_as(mallory)

    reply = trade(visit, visit.code(), secret)

    assert "access:servers!server=alan/lab" in reply.json()["scope"].split()
    assert opened() == [("mallory", "alan/lab")]


def test_server_gets_the_visitor_and_the_scopes(
    alan: User, sign_in_as: Any, secret: str, bearer: Any
) -> None:
    visit = sign_in_as(alan)
    token = trade(visit, visit.code(), secret).json()["access_token"]

    found = bearer(token).get("/hub/api/user").json()

    assert found["name"] == "alan"
    assert "access:servers!server=alan/lab" in found["scopes"]


def test_sign_in_ends_with_the_server(
    server: Server, alan: User, sign_in_as: Any, secret: str, bearer: Any
) -> None:
    visit = sign_in_as(alan)
    token = trade(visit, visit.code(), secret).json()["access_token"]

    credentials.revoke_credentials(server)

    assert bearer(token).get("/hub/api/user").status_code == 403
    assert visit.ask().status_code == 400


def test_server_scope_filter_means_the_server(
    server: Server, alan: User, as_: Any
) -> None:
    secret = credentials.issue_credentials(
        server, Requested(client=("users:activity!server",))
    )
    visit = SignIn(OAuthClient.objects.get(), as_(alan))

    reply = trade(visit, visit.code(), secret)

    assert reply.status_code == 200


def test_stranger_signs_in_first(secret: str) -> None:
    query = urlencode(
        {
            "client_id": "jupyterhub-user-alan-lab",
            "redirect_uri": "/user/alan/lab/oauth_callback",
            "response_type": "code",
        }
    )
    reply = Client().get(f"/hub/api/oauth2/authorize?{query}")

    assert reply.status_code == 302
    assert reply["Location"].startswith("/hub/login?next=%2Fhub%2Fapi%2Foauth2")


def test_revoked_server_token_does_not_stop_visitors_from_being_known(
    server: Server, alan: User, sign_in_as: Any, secret: str
) -> None:
    """Who revokes the token of their server on the Token page must restart it."""
    visit = sign_in_as(alan)
    revoke_tokens(
        APIToken.objects.filter(pk=server.token_id), by=credentials.CONTROLLER
    )

    assert verify(secret) is None
    assert visit.ask().status_code == 302
