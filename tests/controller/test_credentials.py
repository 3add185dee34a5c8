"""A server's token and OAuth client, from its start to its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.models import Role, User
from audit.models import Event
from oauth.actions import matches
from oauth.clients import server_client_id
from oauth.models import OAuthClient
from scopes.refusals import Conflict, Invalid
from servers import credentials
from servers.credentials import Requested
from servers.models import Server
from tests.factories import make_client, make_server, make_token, make_user
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(alan: User) -> Server:
    return make_server(alan, attempt="0a1b")


def give(server: Server, *token: str, client: tuple[str, ...] = ()) -> str:
    return credentials.issue_credentials(server, Requested(tuple(token), client))


def test_token_is_noted_with_its_path_and_lasts(server: Server) -> None:
    secret = give(server)

    server.refresh_from_db()
    token = server.token
    assert token is not None
    assert token.note == "Server at /user/alan/"
    assert token.scopes == ["access:servers!server=alan/", "users:activity!user"]
    assert token.expires_at is None
    assert token.digest.startswith("$argon2id$v=19$m=1024,t=1,p=1$")
    bearer = verify(secret)
    assert bearer is not None and bearer.token_id == token.pk
    assert not bearer.access.has("servers")


def test_named_server_has_a_client_of_its_own(alan: User) -> None:
    user = make_user("we ird@x")
    server = make_server(user, "lab 1", attempt="1")

    secret = give(server, client=("read:users!user",))

    client = OAuthClient.objects.get()
    assert client.identifier == "jupyterhub-user-we%20ird%40x-lab%201"
    assert client.redirect_uri == "/user/we%20ird@x/lab%201/oauth_callback"
    assert client.description == "Server at /user/we%20ird@x/lab%201/"
    assert client.allowed_scopes == ["read:users!user"]
    assert client.server == "we ird@x/lab 1"
    assert matches(client, secret) and not matches(client, f"{secret}x")
    assert server.token is not None
    assert "access:servers!server=we ird@x/lab 1" in server.token.scopes


def test_base_url_leads_the_way_back(server: Server, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, base_url="/jupyter/")

    give(server)

    client = OAuthClient.objects.get()
    assert client.redirect_uri == "/jupyter/user/alan/oauth_callback"


def test_token_holds_what_is_wanted_and_its_owner_has(server: Server) -> None:
    give(server, "read:users!user", "admin:groups", "access:servers!server")

    assert server.token is not None
    # `admin:groups` is beyond alan, and dropped; activity is always needed.
    assert server.token.scopes == [
        "access:servers!server=alan/",
        "read:users!user",
        "users:activity!user",
    ]


def test_token_may_inherit_what_its_owner_has(server: Server) -> None:
    give(server, "inherit")

    assert server.token is not None and server.token.scopes == ["inherit"]


def test_token_of_a_wider_wish_is_cut_down_to_its_owner(server: Server) -> None:
    give(server, "users:activity", "tokens")

    assert server.token is not None
    assert "tokens" not in server.token.scopes
    assert "tokens!user=alan" in server.token.scopes


def test_role_server_limits_the_tokens_of_servers(server: Server) -> None:
    Role.objects.filter(name="server").update(
        scopes=["users:activity!user", "read:users:groups!user"]
    )

    give(server)

    assert server.token is not None
    assert server.token.scopes == ["read:users:groups!user", "users:activity!user"]


def test_unknown_scopes_are_refused(server: Server) -> None:
    with pytest.raises(Invalid, match="nonsense"):
        give(server, "nonsense")
    with pytest.raises(Invalid, match="nonsense"):
        give(server, client=("nonsense",))

    assert not APIToken.objects.exists() and not OAuthClient.objects.exists()


def test_next_start_ends_the_former_token(server: Server) -> None:
    before = give(server)
    after = give(server)

    assert verify(before) is None and verify(after) is not None
    assert OAuthClient.objects.count() == 1
    assert matches(OAuthClient.objects.get(), after)


def test_who_was_replaced_meanwhile_gives_nothing(server: Server) -> None:
    Server.objects.update(attempt="another")

    with pytest.raises(Conflict):
        give(server)

    assert not APIToken.objects.exists() and not OAuthClient.objects.exists()


def test_a_start_forgets_the_port_of_the_one_before(server: Server) -> None:
    Server.objects.update(announced_port=4711)

    give(server)

    server.refresh_from_db()
    assert server.announced_port is None


def test_end_takes_token_client_and_what_visitors_hold(
    server: Server, mallory: User
) -> None:
    secret = give(server)
    visitors, visitor = make_token(
        mallory, scopes=[], client_id="jupyterhub-user-alan", capped=False
    )
    _, own = make_token(mallory)

    credentials.revoke_credentials(server)

    assert verify(secret) is None and verify(visitor) is None
    assert verify(own) is not None
    assert not OAuthClient.objects.exists()
    server.refresh_from_db()
    assert server.token is None
    # One act tells of both.
    act = Event.objects.get(action="token.revoke")
    assert act.actor_kind == "system" and len(act.detail["names"]) == 2
    # A purge may take them.
    visitors.refresh_from_db()
    assert visitors.expires_at is not None

    credentials.revoke_credentials(server)
    assert Event.objects.filter(action="token.revoke").count() == 1


def test_names_that_collide_are_two_clients(alan: User) -> None:
    first = make_server(make_user("a-b"), attempt="1")
    second = make_server(make_user("a"), "b", attempt="1")

    give(first)
    give(second)

    assert set(OAuthClient.objects.values_list("server", flat=True)) == {"a-b/", "a/b"}
    assert server_client_id("a-b", "") == "jupyterhub-user-a-b"
    other = OAuthClient.objects.get(server="a/b").identifier
    assert other == server_client_id("a", "b") != "jupyterhub-user-a-b"


def test_long_names_fit_and_differ() -> None:
    one, two = server_client_id("ü" * 200, "a"), server_client_id("ü" * 200, "b")

    assert len(one) == len(two) == 255 and one != two


# A server that was resumed with a secret of its own


def test_resumed_server_keeps_the_token_it_had(server: Server) -> None:
    old = give(server)
    new = credentials.issue_credentials(server, Requested(resumes=True))

    assert credentials.rehash(server, old, Requested(resumes=True)) == ""

    assert verify(old) is not None and verify(new) is None
    client = OAuthClient.objects.get()
    assert matches(client, old) and not matches(client, new)
    server.refresh_from_db()
    bearer = verify(old)
    assert bearer is not None and server.token_id == bearer.token_id


def test_unknown_secret_gets_no_more_than_a_server(server: Server) -> None:
    give(server)

    assert credentials.rehash(server, "from-a-container-3f9a", Requested()) == ""

    server.refresh_from_db()
    assert server.token is not None
    assert server.token.origin == APIToken.Origin.IMPORTED
    assert server.token.scopes == ["access:servers!server=alan/", "users:activity!user"]
    assert matches(OAuthClient.objects.get(), "from-a-container-3f9a")


def test_token_of_somebody_else_is_not_taken(server: Server, ada: User) -> None:
    give(server)
    _, stolen = make_token(ada)

    assert "token of ada" in credentials.rehash(server, stolen, Requested())

    assert verify(stolen) is None
    assert not matches(OAuthClient.objects.get(), stolen)


def test_token_that_has_ended_is_not_brought_back(server: Server) -> None:
    old = give(server)
    credentials.revoke_credentials(server)
    give(server)

    assert "has ended" in credentials.rehash(server, old, Requested())

    assert verify(old) is None
    assert not matches(OAuthClient.objects.get(), old)


def test_clients_of_servers_that_are_gone_end(server: Server) -> None:
    give(server)
    make_client("gone", server="ghost/", identifier="jupyterhub-user-ghost")
    make_server(make_user("idle"))
    make_client("idle", server="idle/", identifier="jupyterhub-user-idle")
    service = make_client("portal")

    credentials.delete_stray_clients()

    assert set(OAuthClient.objects.all()) == {
        service,
        OAuthClient.objects.get(server="alan/"),
    }
