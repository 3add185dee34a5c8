"""The end of servers whose rows are deleted."""

from __future__ import annotations

import pytest

from accounts.actions import delete_user
from accounts.models import User
from audit.models import Actor
from oauth.models import OAuthClient
from servers import credentials
from servers.credentials import Requested
from servers.models import Inquiry, Server
from servers.named_server_actions import delete_server
from tests.factories import make_server
from tokens.models import APIToken

pytestmark = pytest.mark.django_db
BY = Actor("user", "ada")


def test_spawner_is_asked_to_forget_a_named_server(alan: User, named: None) -> None:
    server = make_server(alan, "lab", generation=2, settled=2, state={"pvc": "a"})

    delete_server(alan, "lab", by=BY)

    asked = Inquiry.objects.get()
    assert asked.kind == "forget"
    assert asked.payload == {
        "server_id": server.pk,
        "user_id": alan.pk,
        "owner": "alan",
        "server_name": "lab",
        "state": {"pvc": "a"},
    }


def test_and_all_servers_of_a_user(alan: User) -> None:
    make_server(alan, generation=1, settled=1)
    make_server(alan, "lab", generation=1, settled=1)

    delete_user(alan, by=BY)

    names = {asked.payload["server_name"] for asked in Inquiry.objects.all()}
    assert names == {"", "lab"}


def test_but_not_one_that_never_ran(alan: User) -> None:
    make_server(alan)

    delete_user(alan, by=BY)

    assert not Inquiry.objects.exists()


def test_secret_of_a_server_that_would_resume_ends(alan: User, named: None) -> None:
    server = make_server(alan, "lab", attempt="1", generation=1, settled=1)
    credentials.issue_credentials(server, Requested(resumes=True))
    Server.objects.update(attempt="")

    delete_server(alan, "lab", by=BY)

    assert not OAuthClient.objects.exists()
    assert not APIToken.objects.filter(revoked_at=None).exists()


def test_client_goes_with_the_user(alan: User) -> None:
    server = make_server(alan, attempt="1", generation=1, settled=1)
    credentials.issue_credentials(server, Requested(resumes=True))

    delete_user(alan, by=BY)

    assert not OAuthClient.objects.exists()
