"""/shares, /share-codes and …/shared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from servers.models import Server, Share, ShareCode
from tests.conftest import API
from tests.factories import make_group, make_role, make_server, make_share, make_token

pytestmark = pytest.mark.django_db

SHARES = f"{API}/shares/alan/lab"
CODES = f"{API}/share-codes/alan/lab"
ACCESS = "access:servers!server=alan/lab"


@pytest.fixture
def admin(ada: User, bearer: Any) -> Any:
    return bearer(make_token(ada)[1])


@pytest.fixture
def lab(alan: User) -> Server:
    return make_server(alan, "lab")


def patch(client: Any, path: str, body: Any) -> Any:
    return client.patch(path, body, content_type="application/json")


def delete(client: Any, path: str) -> Any:
    return client.delete(path)


# Shares, as the owner sees them


def test_a_share_on_the_wire(admin: Any, lab: Server, mallory: User) -> None:
    reply = admin.post(SHARES, {"user": "mallory"})

    share = reply.json()
    assert reply.status_code == 200
    assert share.pop("created_at").endswith("Z")
    assert share == {
        "server": {
            "user": {"name": "alan"},
            "name": "lab",
            "url": "/user/alan/lab/",
            "full_url": None,
            "ready": False,
        },
        "scopes": [ACCESS],
        "user": {"name": "mallory"},
        "group": None,
        "kind": "user",
    }


def test_lists_always_come_in_pages(admin: Any, lab: Server, mallory: User) -> None:
    make_share(lab, user=mallory)

    for path in (SHARES, f"{API}/shares/alan", f"{API}/users/mallory/shared"):
        body = admin.get(path).json()
        assert [item["user"] for item in body["items"]] == [{"name": "mallory"}]
        assert body["_pagination"] == {
            "offset": 0,
            "limit": 200,
            "total": 1,
            "next": None,
        }


@pytest.mark.parametrize("number", [2, 20])
def test_listing_costs_the_same_however_many(
    admin: Any, lab: Server, number: int, django_assert_num_queries: Any
) -> None:
    for _ in range(number):
        make_share(lab, group=make_group())
    admin.get(f"{API}/user")

    with django_assert_num_queries(4):  # the bearer, the server, the count, the page
        assert len(admin.get(SHARES).json()["items"]) == number


def test_pages_follow_each_other(admin: Any, lab: Server) -> None:
    for _ in range(3):
        make_share(lab, group=make_group())

    first = admin.get(f"{SHARES}?limit=2").json()
    second = admin.get(first["_pagination"]["next"]["url"]).json()

    assert len(first["items"]) == 2
    assert len(second["items"]) == 1
    assert second["_pagination"]["next"] is None


def test_members_see_what_their_group_was_given(
    admin: Any, lab: Server, mallory: User, bearer: Any
) -> None:
    make_group("guests", users=[mallory])
    client = bearer(make_token(mallory, client_id="service-portal")[1])
    lone = bearer(make_token(mallory)[1])

    admin.post(SHARES, {"group": "guests"})

    for path in ("groups/guests/shared", "users/mallory/shared"):
        items = admin.get(f"{API}/{path}").json()["items"]
        assert [item["group"] for item in items] == [{"name": "guests"}]
    assert admin.get(f"{API}/groups/guests/shared/alan/lab").status_code == 200
    # What acts for a session is worth as much as that, a lone token is not.
    assert ACCESS in client.get(f"{API}/user").json()["scopes"]
    assert ACCESS not in lone.get(f"{API}/user").json()["scopes"]
    admin.delete(f"{API}/groups/guests/shared/alan/lab")
    assert ACCESS not in client.get(f"{API}/user").json()["scopes"]


def test_shared_scopes_come_and_go_with_the_share(
    admin: Any, lab: Server, mallory: User, bearer: Any
) -> None:
    client = bearer(make_token(mallory)[1])
    admin.post(SHARES, {"user": "mallory", "scopes": ["read:servers!server=alan/lab"]})

    assert client.get(f"{API}/users/alan/servers/lab").status_code == 200
    assert client.get(f"{API}/users/alan/server").status_code == 404
    assert delete(admin, SHARES).status_code == 204
    assert client.get(f"{API}/users/alan/servers/lab").status_code == 404


def test_granting_adds_and_revoking_takes_away(
    admin: Any, lab: Server, mallory: User
) -> None:
    read = "read:servers!server=alan/lab"
    admin.post(SHARES, {"user": "mallory"})
    both = admin.post(SHARES, {"user": "mallory", "scopes": ["read:servers"]})
    one = patch(admin, SHARES, {"user": "mallory", "scopes": [ACCESS]})
    none = patch(admin, SHARES, {"user": "mallory"})

    assert both.json()["scopes"] == [ACCESS, read]
    assert one.json()["scopes"] == [read]
    assert (none.status_code, none.json()) == (200, {})
    assert patch(admin, SHARES, {"user": "nobody"}).json() == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('""', "give an object"),
        ([], "give an object"),
        ({}, "exactly one"),
        ({"user": "mallory", "group": "guests"}, "exactly one"),
        ({"user": None, "group": None}, "exactly one"),
        ({"user": "nobody"}, "No such user: nobody"),
        ({"group": "nobody"}, "No such group: nobody"),
        ({"user": 3}, "share.user must be"),
        ({"user": "mallory", "colour": "green"}, "Invalid JSON keys: colour"),
        ({"user": "mallory", "scopes": "self"}, "share.scopes must be"),
        ({"user": "mallory", "scopes": [1]}, "list of strings"),
        ({"user": "mallory", "scopes": ["no:such"]}, "does not exist"),
        (
            {"user": "mallory", "scopes": ["access:servers!server=alan/den"]},
            "Can only grant scopes of this server",
        ),
    ],
)
def test_refuses_what_makes_no_sense(
    admin: Any, lab: Server, mallory: User, body: Any, message: str
) -> None:
    make_group("guests")

    reply = admin.post(SHARES, body)

    assert reply.status_code == 400
    assert message in reply.json()["message"]
    assert not Share.objects.exists()


def test_servers_must_exist_to_be_shared(admin: Any, lab: Server) -> None:
    reply = admin.post(f"{API}/shares/alan/den", {"user": "mallory"})

    assert reply.status_code == 404
    assert reply.json()["message"] == "No such server: alan/den"
    assert admin.post(f"{API}/shares/alan", {"user": "mallory"}).status_code == 405


def test_the_default_server_is_shared_by_a_slash(
    admin: Any, alan: User, mallory: User
) -> None:
    assert admin.get(f"{API}/shares/alan/").json()["items"] == []
    assert admin.get(f"{API}/share-codes/alan/").json()["items"] == []
    assert patch(admin, f"{API}/shares/alan/", {"user": "mallory"}).json() == {}
    assert delete(admin, f"{API}/shares/alan/").status_code == 204
    assert delete(admin, f"{API}/share-codes/alan/").status_code == 204
    assert admin.post(f"{API}/share-codes/alan/").status_code == 200
    reply = admin.post(f"{API}/shares/alan/", {"user": "mallory"})

    assert reply.json()["scopes"] == ["access:servers!server=alan/"]
    assert admin.get(f"{API}/users/mallory/shared/alan/").status_code == 200


def test_callers_who_cannot_read_names_cannot_test_them(
    lab: Server, alan: User, mallory: User, bearer: Any
) -> None:
    make_role("sharer", "shares!user=alan", users=[alan])
    client = bearer(make_token(alan)[1])

    replies = [client.post(SHARES, {"user": name}) for name in ("mallory", "nobody")]

    assert {reply.status_code for reply in replies} == {403}
    assert "read:users:name" in replies[0].json()["message"]
    assert not Share.objects.exists()


def test_a_guest_may_leave_and_nobody_else_for_them(
    lab: Server, mallory: User, grace: User, bearer: Any
) -> None:
    make_share(lab, user=mallory)
    path = f"{API}/users/mallory/shared/alan/lab"
    guest, other = bearer(make_token(mallory)[1]), bearer(make_token(grace)[1])

    assert delete(other, path).status_code == 404
    assert guest.get(path).status_code == 200
    assert delete(guest, path).status_code == 204
    assert guest.get(path).status_code == 404
    assert delete(guest, path).status_code == 404


# Share codes


def test_a_code_on_the_wire(admin: Any, lab: Server) -> None:
    reply = admin.post(CODES, {"expires_in": 3600})

    issued = reply.json()
    stored = ShareCode.objects.get()
    assert reply.status_code == 200
    assert issued["id"] == f"sc_{stored.pk}"
    assert issued["accept_url"] == f"/hub/accept-share?code={issued['code']}"
    assert issued["full_accept_url"] is None
    assert stored.expires_at - stored.created_at == timedelta(hours=1)

    listed = admin.get(CODES).json()["items"]
    secret_keys = ("code", "accept_url", "full_accept_url")
    assert listed == [{k: v for k, v in issued.items() if k not in secret_keys}]
    assert issued["code"] not in admin.get(f"{API}/share-codes/alan").content.decode()


def test_codes_last_a_day_without_a_body(admin: Any, lab: Server) -> None:
    admin.post(CODES)

    stored = ShareCode.objects.get()
    assert stored.expires_at - stored.created_at == timedelta(days=1)


def test_expired_codes_are_not_listed(admin: Any, lab: Server) -> None:
    admin.post(CODES)
    ShareCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert admin.get(CODES).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        [3],
        {"expires_in": None},
        {"expires_in": 10},
        {"expires_in": "60 s"},
        {"expires_in": -1},
        {"expires_in": 10**9},
        {"expires_in": "soon"},
        {"expires_in": True},
        {"user": "mallory"},
        {"scopes": ["no:such"]},
    ],
)
def test_refuses_codes_that_make_no_sense(admin: Any, lab: Server, body: Any) -> None:
    assert admin.post(CODES, body).status_code == 400
    assert not ShareCode.objects.exists()


@pytest.mark.parametrize("body", [[], {"scopes": []}, {"expires_in": "86400"}])
def test_codes_are_lenient_where_nothing_is_said(
    admin: Any, lab: Server, body: Any
) -> None:
    reply = admin.post(CODES, body)

    assert reply.status_code == 200
    assert reply.json()["scopes"] == [ACCESS]


def test_no_scopes_share_what_is_usual(admin: Any, lab: Server, mallory: User) -> None:
    reply = admin.post(SHARES, {"user": "mallory", "scopes": []})

    assert reply.json()["scopes"] == [ACCESS]


def test_an_empty_id_names_no_code(admin: Any, lab: Server) -> None:
    admin.post(CODES)

    assert delete(admin, f"{CODES}?id=").status_code == 204
    assert not ShareCode.objects.exists()


def test_codes_are_revoked_by_id_by_code_or_all(admin: Any, lab: Server) -> None:
    first, second = admin.post(CODES).json(), admin.post(CODES).json()
    admin.post(CODES)

    assert delete(admin, f"{CODES}?id={first['id']}").status_code == 204
    assert delete(admin, f"{CODES}?id={first['id']}").status_code == 404
    assert delete(admin, f"{CODES}?id=sc_x").status_code == 404
    assert delete(admin, f"{CODES}?id={'sc_' + '9' * 30}").status_code == 404
    assert delete(admin, f"{CODES}?code={second['code']}").status_code == 204
    assert delete(admin, f"{CODES}?code=unknown").status_code == 404
    assert ShareCode.objects.count() == 1
    assert delete(admin, CODES).status_code == 204
    assert not ShareCode.objects.exists()
