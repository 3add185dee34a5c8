"""OAuth clients in the admin: visible to service managers, revoked, never edited."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from audit.models import Event
from oauth.actions import has_secret, matches, update_clients
from oauth.models import OAuthClient
from tests.admin.conftest import rows, text
from tests.factories import (
    BY,
    make_client,
    make_role,
    make_service,
    make_token,
    make_user,
)
from tokens.actions.revocation import revoke_token
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db
LIST = "oauth_oauthclient"
SECRET = "s" * 32


def choose(action, *clients, confirmed=False):
    return {
        "action": action,
        "index": "0",
        "select_across": "0",
        "_selected_action": [client.pk for client in clients],
        **({"confirmed": "yes"} if confirmed else {}),
    }


def obtained(client, owner):
    return make_token(owner, scopes=["read:users!user"], client_id=client.identifier)


def test_shows_the_owner_of_each_client_and_its_tokens(as_, ada, alan, pages):
    portal = make_client("portal", SECRET, allowed_scopes=["read:users!user"])
    make_client("lab", server="alan/", identifier="jupyterhub-user-alan")
    obtained(portal, alan)

    page = text(as_(ada).get(pages.list(LIST)))
    detail = as_(ada).get(pages.of(portal))

    for said in ("service-portal", "service portal", "server alan/"):
        assert said in page
    assert "read:users!user" in text(detail)
    assert "argon2" not in detail.content.decode()
    assert SECRET not in detail.content.decode()


@pytest.mark.parametrize("term", ["portal", "service-por", "alan"])
def test_finds_by_id_and_by_what_it_stands_for(as_, ada, pages, term):
    make_client("portal")
    make_client("lab", server="alan/", identifier="jupyterhub-user-alan")

    found = rows(as_(ada).get(pages.list(LIST), {"q": term}))

    assert found == ["jupyterhub-user-alan" if term == "alan" else "service-portal"]


def test_ends_a_client_with_what_it_holds(as_, ada, alan, pages):
    portal, other = make_client("portal"), make_client("other")
    _, held = obtained(portal, alan)
    _, kept = obtained(other, alan)
    client = as_(ada)

    asked = client.post(pages.list(LIST), choose("end", portal))
    assert "End 1 OAuth client ?" in text(asked)
    assert verify(held)
    client.post(pages.list(LIST), choose("end", portal, confirmed=True))

    assert verify(held) is None
    assert verify(kept)
    assert list(OAuthClient.objects.all()) == [other]
    act = Event.objects.get(action="client.end")
    assert (act.actor_name, act.target_name) == ("ada", "service-portal")


def test_narrower_scopes_reach_their_own(as_, pages):
    mine, other = make_client("portal"), make_client("other")
    keeper = make_user("keeper", scopes=["admin-ui", "admin:services!service=portal"])
    client = as_(keeper)

    assert rows(client.get(pages.list(LIST))) == [str(mine)]
    client.post(pages.list(LIST), choose("end", mine, other, confirmed=True))

    assert list(OAuthClient.objects.all()) == [other]


def test_nothing_else_can_be_done_to_them(as_, ada, grace, pages):
    portal = make_client("portal", service=make_service("portal"))

    assert as_(ada).post(pages.of(portal), {"identifier": "x"}).status_code == 403
    assert as_(ada).get(pages.add(LIST)).status_code == 403
    assert as_(ada).post(pages.of(portal, "delete"), {"post": "y"}).status_code == 403
    assert as_(grace).get(pages.list(LIST)).status_code == 403


def where_secret(client):
    return reverse("admin:oauth_oauthclient_secret", args=[client.pk])


@pytest.fixture
def bare():
    """A client whose secret nobody knows any more."""
    service = make_service("portal", url="http://127.0.0.1:9000")
    return make_client("portal", service=service)


def test_a_client_without_a_secret_gets_one(as_, ada, pages, bare):
    client = as_(ada)
    assert "New secret" in text(client.get(pages.of(bare)))
    assert "has no secret" in text(client.get(where_secret(bare)))
    assert not APIToken.objects.exists()

    reply = client.post(where_secret(bare))

    found = re.search(r'id="secret"[^>]* value="([^"]+)"', reply.content.decode())
    assert found and "no-store" in reply["Cache-Control"]
    bare.refresh_from_db()
    assert matches(bare, found[1])
    bearer = verify(found[1])
    assert bearer and bearer.owner_name == "portal"
    act = Event.objects.get(action="client.renew")
    assert (act.target_name, act.detail) == (str(bare), {"on": str(bare.secret)})
    assert "New secret" not in text(client.get(pages.of(bare)))
    assert client.post(where_secret(bare)).status_code == 403


def test_a_revoked_secret_is_replaced_and_stays_so(as_, ada, bare):
    token, _ = make_token(bare.service)
    update_clients([bare.service], {"portal": token}, by=BY)
    revoke_token(token, by=BY)

    as_(ada).post(where_secret(bare))
    token.refresh_from_db()
    # What a start of the hub does with a secret of the configuration.
    update_clients([bare.service], {"portal": token}, by=BY)

    bare.refresh_from_db()
    assert bare.secret_id != token.pk
    assert has_secret(bare)


def test_nobody_gets_a_secret_with_more_rights(as_, ada, alan, bare):
    bare.service.roles.add(make_role("strong", "admin:users"))
    keeper = make_user(
        "keeper", scopes=["admin-ui", "admin:services", "tokens!service=portal"]
    )
    for user in (alan, keeper):
        assert as_(user).post(where_secret(bare)).status_code in (302, 403)
    server = make_client("lab", server="alan/", identifier="jupyterhub-user-alan")
    assert as_(ada).post(where_secret(server)).status_code == 403

    assert not APIToken.objects.exists()
