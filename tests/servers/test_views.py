"""Stopped servers, the way to one's own, and invitations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from servers.models import Server, Share, ShareCode
from servers.sharing import issue_share_code
from tests.factories import BY, make_server, make_share, make_token, make_user

pytestmark = pytest.mark.django_db


# Stopped servers


def test_people_get_a_page_with_a_way_to_start(alan: User, as_: Any) -> None:
    reply = as_(alan).get("/hub/user/alan/lab/tree/a%20b.ipynb?x=1")

    assert reply.status_code == 424
    assert reply["Content-Type"].startswith("text/html")
    assert "Server not running" in reply.content.decode()
    target = "/hub/spawn/alan?next=%2Fuser%2Falan%2Flab%2Ftree%2Fa%2520b.ipynb%3Fx%3D1"
    assert target in reply.content.decode()


def test_whoever_may_not_start_it_sees_no_way(
    alan: User, mallory: User, as_: Any
) -> None:
    make_share(make_server(alan), user=mallory)

    page = as_(mallory).get("/hub/user/alan/").content.decode()

    assert "Server not running" in page
    assert "/hub/spawn/" not in page


def test_programs_get_json(alan: User, as_: Any) -> None:
    client = as_(alan)

    for reply in (
        client.get("/hub/user/alan/api/kernels"),
        client.get("/hub/user/alan/", headers={"accept": "application/json"}),
        client.post("/hub/user/alan/lab"),
    ):
        assert reply.status_code == 424
        assert list(reply.json()) == ["message"]
    assert "no longer running at /user/alan/lab." in reply.json()["message"]
    assert "/hub/spawn/alan" in reply.json()["message"]


def test_a_path_may_begin_with_a_named_server(
    alan: User, as_: Any, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, allow_named_servers=True)
    make_server(alan, "lab")
    client = as_(alan)

    named = client.get("/hub/user/alan/lab/tree").content.decode()
    default = client.get("/hub/user/alan/tree").content.decode()

    assert "/hub/spawn/alan/lab?next=" in named
    assert "/hub/spawn/alan?next=" in default


def test_older_clients_get_the_older_status(
    alan: User, as_: Any, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, use_legacy_stopped_server_status_code=True)

    assert as_(alan).get("/hub/user/alan/").status_code == 503
    assert as_(alan).get("/hub/user/alan/api").status_code == 503


@pytest.mark.parametrize("path", ["/hub/user/alan/lab", "/hub/user/alan/api/kernels"])
def test_strangers_sign_in_first(alan: User, path: str) -> None:
    reply = Client().get(path)

    assert reply.status_code == 302
    assert reply["Location"].startswith("/hub/login?next=%2Fhub%2Fuser%2Falan")


@pytest.mark.parametrize("owner", ["alan", "nobody"])
def test_who_has_a_server_is_not_told(
    alan: User, mallory: User, as_: Any, bearer: Any, owner: str
) -> None:
    make_server(alan, "lab")

    assert as_(mallory).get(f"/hub/user/{owner}/lab").status_code == 404
    assert bearer(make_token(mallory)[1]).get(f"/hub/user/{owner}/").status_code == 404


def test_names_that_cannot_be_are_not_found(ada: User, as_: Any) -> None:
    client = as_(ada)

    assert client.get("/hub/user/al%00an/lab").status_code == 404
    assert client.get("/hub/user/alan/l%00ab/tree").status_code == 404
    assert client.get("/hub/spawn/al%00an/lab").status_code == 404


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html, application/json", "text/html"),
        ("application/json, text/html", "application/json"),
        ("application/json;q=0.5, text/html", "text/html"),
        ("*/*", "text/html"),
        ("image/png", "text/html"),
    ],
)
def test_who_asks_gets_what_they_prefer(
    alan: User, as_: Any, accept: str, kind: str
) -> None:
    reply = as_(alan).get("/hub/user/alan/", headers={"accept": accept})

    assert (reply.status_code, reply["Content-Type"].partition(";")[0]) == (424, kind)


def test_what_acts_is_told_of_the_address_alone(mallory: User, as_: Any) -> None:
    """The answer is the same whether or not there is such a server."""
    for owner in ("alan", "nobody"):
        assert as_(mallory).post(f"/hub/user/{owner}/lab").status_code == 424


@pytest.mark.parametrize("method", ["put", "options"])
def test_servers_are_not_asked_in_other_ways(alan: User, as_: Any, method: str) -> None:
    assert getattr(as_(alan), method)("/hub/user/alan/lab").status_code == 405


def test_a_token_will_do(alan: User, bearer: Any) -> None:
    client = bearer(make_token(alan)[1])

    assert client.get("/hub/user/alan/api/kernels").status_code == 424
    assert client.post("/hub/user/alan/api/kernels").status_code == 424
    assert client.delete("/hub/user/alan/api/kernels/1").status_code == 424


def test_forged_calls_are_refused(alan: User) -> None:
    client = Client(enforce_csrf_checks=True)
    stranger = client.post("/hub/user/alan/api/kernels")
    client.force_login(alan, "accounts.backends.HubBackend")
    forged = client.post("/hub/user/alan/api/kernels")

    assert stranger.status_code == 403
    assert forged.status_code == 403


# To one's own


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("lab/tree/x?a=1&b=2", "%2Fuser%2Falan%2Flab%2Ftree%2Fx%3Fa%3D1%26b%3D2"),
        ("", "%2Fuser%2Falan%2F"),
        ("a%20b", "%2Fuser%2Falan%2Fa%2520b"),
    ],
)
def test_leads_everybody_to_their_own(
    alan: User, as_: Any, path: str, target: str
) -> None:
    reply = as_(alan).get(f"/hub/user-redirect/{path}")

    assert reply.status_code == 302
    assert reply["Location"] == f"/hub/spawn/alan?next={target}"


def test_leads_to_the_server_that_is_the_default(
    alan: User, as_: Any, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, default_server_name="lab")

    reply = as_(alan).get("/hub/user-redirect/tree")

    assert reply["Location"] == ("/hub/spawn/alan/lab?next=%2Fuser%2Falan%2Flab%2Ftree")


def test_starting_is_for_whoever_may(
    ada: User, alan: User, mallory: User, as_: Any
) -> None:
    reply = as_(alan).get("/hub/spawn/alan", follow=True)
    assert reply.redirect_chain == [("/hub/home", 302)]
    assert "does not start servers yet" in reply.content.decode()
    assert as_(ada).get("/hub/spawn/alan/lab").status_code == 302
    assert as_(ada).get("/hub/spawn/nobody").status_code == 404
    assert as_(mallory).get("/hub/spawn/alan").status_code == 404
    assert Client().get("/hub/spawn/alan").status_code == 302


# From outside of the hub's part


@pytest.mark.parametrize(
    ("path", "target", "status"),
    [
        ("/", "/hub/", 302),
        ("/user/alan/lab?x=1", "/hub/user/alan/lab?x=1", 302),
        ("/services/x/", "/hub/services/x/", 302),
        ("/foo", "/hub/foo", 302),
        ("/user/alan", "/user/alan/", 301),
        ("/services/x", "/services/x/", 301),
    ],
)
def test_what_stands_outside_leads_in(path: str, target: str, status: int) -> None:
    reply = Client().get(path)

    assert (reply.status_code, reply["Location"]) == (status, target)


@pytest.mark.parametrize("name", ["a%40b", "a@b", "50%25", "a%2Bb", "a%26b", "a%2Fb"])
def test_the_way_in_is_spelt_as_it_was_asked(name: str) -> None:
    path = f"/user/{name}/tree"

    reply = Client().get(path, RAW_URI=path)

    assert reply["Location"] == f"/hub{path}"


def test_only_reading_is_led_in() -> None:
    assert Client(enforce_csrf_checks=True).post("/user/alan/lab").status_code == 405


# Invitations


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
    assert as_(mallory).get(f"/hub/accept-share{query}").status_code == status


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
