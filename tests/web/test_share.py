"""Invitations to other people's servers, and accepted ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from servers.models import Server, Share, ShareCode
from sharing.actions import issue_share_code
from tests.factories import BY, make_server, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def lab(alan: User) -> Server:
    return make_server(alan, "lab", display_name="My <Lab>")


@pytest.fixture
def code(ada: User, lab: Server) -> str:
    return issue_share_code(lab, by=BY, access=ada.access)[1]


def test_shows_whose_server_and_which_rights(
    mallory: User, as_: Any, code: str
) -> None:
    reply = as_(mallory).get(f"/hub/accept-share?code={code}")

    page = reply.content.decode()
    assert reply.status_code == 200
    assert "alan" in page
    assert "My &lt;Lab&gt;" in page
    assert "Use servers in the browser" in page
    assert "stopped" in page
    assert not Share.objects.exists()


def test_accepting_leads_to_the_server(
    mallory: User, as_: Any, lab: Server, code: str
) -> None:
    reply = as_(mallory).post(f"/hub/accept-share?code={code}", {"code": code})

    assert reply.status_code == 302
    assert reply["Location"] == "/user/alan/lab/"
    assert Share.objects.get().user == mallory
    assert ShareCode.objects.get().exchange_count == 1
    assert User.objects.get(name="mallory").access.allows("access:servers", obj=lab)


def test_the_code_may_stand_in_the_address_alone(
    mallory: User, as_: Any, lab: Server, code: str
) -> None:
    """Forms of JupyterHub are sent to the address that they were opened by."""
    reply = as_(mallory).post(f"/hub/accept-share?code={code}")

    assert reply["Location"] == "/user/alan/lab/"
    assert Share.objects.get().user == mallory


def test_an_accepted_share_of_a_stopped_server_shows_that(
    mallory: User, as_: Any, code: str, configure: Any
) -> None:
    configure(allow_named_servers=True)
    client = as_(mallory)
    client.post(f"/hub/accept-share?code={code}", {"code": code})

    page = client.get("/hub/user/alan/lab/", headers={"accept": "text/html"})

    assert page.status_code == 424
    assert "You have accepted" in page.content.decode()


def test_an_accepted_share_shows_a_running_server_only(
    mallory: User, as_: Any, lab: Server, code: str
) -> None:
    Server.objects.filter(pk=lab.pk).update(ready=True)
    client = as_(mallory)
    client.post(f"/hub/accept-share?code={code}", {"code": code})

    assert "You have accepted" not in client.get("/hub/home").content.decode()


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("/hub/home", "/hub/home"),
        ("//evil.example", "/user/alan/lab/"),
        ("https://evil.example/", "/user/alan/lab/"),
    ],
)
def test_leads_only_within_the_hub(
    mallory: User, as_: Any, code: str, wanted: str, target: str
) -> None:
    reply = as_(mallory).post(f"/hub/accept-share?next={wanted}", {"code": code})

    assert reply["Location"] == target


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("?code=", 404), ("?code=unknown", 404)]
)
def test_links_without_a_good_code_lead_nowhere(
    mallory: User, as_: Any, query: str, status: int
) -> None:
    reply = as_(mallory).get(f"/hub/accept-share{query}")

    assert reply.status_code == status
    told = "has ended or is mistyped" in reply.content.decode()
    assert told == (status == 404)


def test_the_form_may_say_where_to_go(mallory: User, as_: Any, code: str) -> None:
    fields = {"code": code, "next": "/hub/token"}

    assert as_(mallory).post("/hub/accept-share", fields)["Location"] == "/hub/token"


def test_expired_links_lead_nowhere(mallory: User, as_: Any, code: str) -> None:
    ShareCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert as_(mallory).get(f"/hub/accept-share?code={code}").status_code == 404
    assert as_(mallory).post("/hub/accept-share", {"code": code}).status_code == 400
    assert not Share.objects.exists()


def test_owners_need_no_invitation(alan: User, as_: Any, code: str) -> None:
    assert as_(alan).get(f"/hub/accept-share?code={code}").status_code == 403
    assert as_(alan).post("/hub/accept-share", {"code": code}).status_code == 400
    assert not Share.objects.exists()


def test_strangers_sign_in_before_they_accept(code: str) -> None:
    reply = Client().get(f"/hub/accept-share?code={code}")

    assert reply.status_code == 302
    assert reply["Location"] == (
        f"/hub/login?next=%2Fhub%2Faccept-share%3Fcode%3D{code}"
    )


def test_nobody_accepts_without_wanting_to(code: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("edsger"), "accounts.backends.HubBackend")

    assert client.post("/hub/accept-share", {"code": code}).status_code == 403
    assert not Share.objects.exists()
