"""The page on which people share their servers, and leave those of others."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Group, User
from audit.models import Event
from servers.models import Server, Share, ShareCode
from tests.factories import make_group, make_server, make_share, make_user

pytestmark = pytest.mark.django_db
PAGE = "/hub/shares"


@pytest.fixture
def owner() -> User:
    """Somebody who may share servers, and read the names of some."""
    return make_user(
        "owner",
        scopes=[
            "shares!user",
            "read:users:name!user=mallory",
            "read:groups:name!group=data301",
        ],
    )


@pytest.fixture
def lab(owner: User) -> Server:
    return make_server(owner, "lab", display_name="My <Lab>")


def text(reply: Any) -> str:
    body = reply.content.decode()
    return " ".join(unescape(re.sub("<[^>]+>", " ", body)).split())


def grant(**fields: str) -> dict[str, str]:
    return {"kind": "user", "recipient": "mallory", "may": "use", **fields}


def test_shares_with_a_person_and_revokes(
    as_: Any, owner: User, lab: Server, mallory: User
) -> None:
    client = as_(owner)

    done = client.post(f"{PAGE}/grant", grant(server="lab"), follow=True)

    assert done.redirect_chain == [(PAGE, 303)]
    assert "Shared with mallory." in text(done)
    assert "My <Lab>" in text(done)
    share = Share.objects.get()
    assert (share.server, share.user, share.scopes) == (
        lab,
        mallory,
        ["access:servers"],
    )
    assert User.objects.get(name="mallory").access.allows("access:servers", obj=lab)

    revoked = {"server": "lab", "share": str(share.pk)}
    assert "No longer shared" in text(
        client.post(f"{PAGE}/revoke", revoked, follow=True)
    )
    assert not Share.objects.exists()
    acts = list(Event.objects.order_by("id").values_list("action", "actor_name"))
    assert acts == [("share.grant", "owner"), ("share.revoke", "owner")]
    assert client.post(f"{PAGE}/revoke", revoked).status_code == 303


def test_a_name_may_be_typed_in_capitals(
    as_: Any, owner: User, lab: Server, mallory: User
) -> None:
    as_(owner).post(f"{PAGE}/grant", grant(server="lab", recipient="Mallory "))

    assert Share.objects.get().user == mallory


def test_shares_with_a_group_the_right_to_start(
    as_: Any, owner: User, alan: User, data301: Group
) -> None:
    as_(owner).post(
        f"{PAGE}/grant", grant(kind="group", recipient="data301", may="manage")
    )

    share = Share.objects.get()
    assert (share.group, share.server.name) == (data301, "")
    access = User.objects.get(name="alan").access
    assert access.allows("start:servers", obj=share.server)
    assert access.allows("delete:servers", obj=share.server)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"recipient": "ada"}, "may not look up this name"),
        ({"recipient": "nobody"}, "may not look up this name"),
        ({"recipient": "x\0"}, ""),
        ({"recipient": ""}, "required"),
        ({"may": "everything"}, "valid choice"),
        ({"kind": "planet"}, "valid choice"),
        ({"kind": "group", "recipient": "none"}, "may not look up this name"),
    ],
)
def test_shows_an_error_beside_its_server(
    as_: Any, owner: User, lab: Server, ada: User, fields: Any, says: str
) -> None:
    reply = as_(owner).post(f"{PAGE}/grant", grant(server="lab", **fields))

    assert reply.status_code == 400
    assert says in text(reply)
    assert reply.content.decode().count("error-text") == 1
    assert not Share.objects.exists()


def test_makes_a_link_that_is_shown_once_and_ends_it(
    as_: Any, owner: User, lab: Server, mallory: User
) -> None:
    client = as_(owner)

    made = client.post(
        f"{PAGE}/invite", {"server": "lab", "may": "use", "expires_in": "3600"}
    )

    link = re.search(r'id="link"[^>]*value="([^"]+)"', made.content.decode())
    assert link
    assert link[1].startswith("http://testserver/hub/accept-share?code=")
    assert made["Cache-Control"] == "no-store"
    listed = client.get(PAGE)
    assert "Active links" in text(listed)
    assert link[1].partition("code=")[2] not in listed.content.decode()
    path = link[1].removeprefix("http://testserver")
    assert as_(mallory).get(path).status_code == 200

    client.post(
        f"{PAGE}/withdraw", {"server": "lab", "code": ShareCode.objects.get().pk}
    )

    assert as_(mallory).get(path).status_code == 404
    assert not ShareCode.objects.exists()


@pytest.mark.parametrize("act", ["grant", "invite", "revoke", "withdraw"])
def test_nobody_shares_without_the_scope(
    as_: Any, alan: User, mallory: User, act: str
) -> None:
    share = make_share(make_server(alan, "lab"), user=mallory)
    fields = grant(server="lab", expires_in="3600", share=str(share.pk), code="1")
    client = as_(alan)

    assert client.post(f"{PAGE}/{act}", fields).status_code == 404

    assert Share.objects.get() == share
    page = client.get(PAGE)
    assert "may not share its servers" in text(page)
    assert "mallory" in text(page)
    assert f"{PAGE}/{act}" not in page.content.decode()


@pytest.mark.parametrize("act", ["grant", "invite", "revoke", "withdraw"])
def test_servers_of_others_are_not_there(
    as_: Any, owner: User, alan: User, mallory: User, act: str
) -> None:
    theirs = make_share(make_server(alan, "desk"), user=mallory)
    fields = grant(server="desk", expires_in="3600", share=str(theirs.pk), code="1")
    client = as_(owner)

    assert client.post(f"{PAGE}/{act}", fields).status_code == 404
    # Nor does a number of somebody else's share lead to it.
    client.post(f"{PAGE}/revoke", {"server": "", "share": str(theirs.pk)})

    assert Share.objects.get() == theirs


@pytest.mark.parametrize("number", ["", "x", "-1", "9" * 30])
def test_what_is_no_number_is_not_there(as_: Any, owner: User, number: str) -> None:
    for act in ("revoke", "withdraw", "leave"):
        reply = as_(owner).post(f"{PAGE}/{act}", {"share": number, "code": number})
        assert reply.status_code == 404


def test_who_was_invited_sees_it_and_leaves(
    as_: Any, alan: User, mallory: User
) -> None:
    share = make_share(make_server(alan, "lab", ready=True), user=mallory)
    other = make_share(make_server(alan, "desk"), user=make_user("eve"))
    client = as_(mallory)

    page = client.get(PAGE)
    assert "lab of alan" in text(page)
    assert 'href="/user/alan/lab/"' in page.content.decode()
    assert "desk" not in text(page)

    for each in (share, other):
        client.post(f"{PAGE}/leave", {"share": str(each.pk)})
    assert list(Share.objects.all()) == [other]


def test_strangers_are_asked_to_sign_in(client: Any) -> None:
    assert client.get(PAGE)["Location"].startswith("/hub/login")
    assert client.post(f"{PAGE}/grant").status_code in (302, 403)


def test_costs_as_many_queries_however_much_is_shared(
    as_: Any, owner: User, lab: Server
) -> None:
    client = as_(owner)

    def share(number: int) -> None:
        for index in range(number):
            make_share(lab, user=make_user())
            make_share(lab, group=make_group())
            make_share(make_server(make_user(), "x"), user=owner)
            make_server(owner, f"more{Server.objects.count()}-{index}")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(PAGE)
        return len(captured)

    share(2)
    few = queries()
    share(18)
    assert queries() == few
    assert few <= 12


def test_leafs_through_many(as_: Any, owner: User, lab: Server) -> None:
    for index in range(101):
        make_share(lab, user=make_user(f"friend{index:03}"))
    client = as_(owner)

    first, second = client.get(PAGE), client.get(f"{PAGE}?page=2")

    assert "Page 1 of 2" in text(first)
    assert "friend099" in text(first)
    assert "friend100" not in text(first)
    assert "friend100" in text(second)
