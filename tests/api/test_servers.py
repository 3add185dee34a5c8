"""/users/{name}/server and /users/{name}/servers/{server_name}, stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.models import User
from audit.models import Actor
from servers.actions import start_server
from servers.models import Server
from tests.conftest import API
from tests.factories import make_server, make_token

BY = Actor.system("tests")

pytestmark = pytest.mark.django_db

LAB = f"{API}/users/alan/servers/lab"


@pytest.fixture(autouse=True)
def named(settings: Any) -> None:
    settings.HUB = replace(
        settings.HUB, allow_named_servers=True, named_server_limit_per_user=2
    )


@pytest.fixture
def admin(ada: User, bearer: Any) -> Any:
    return bearer(make_token(ada)[1])


@pytest.fixture
def mine(alan: User, bearer: Any) -> Any:
    return bearer(make_token(alan)[1])


def json(client: Any, method: str, path: str, body: Any = None) -> Any:
    sent = "" if body is None else body
    return getattr(client, method)(path, sent, content_type="application/json")


def test_a_server_on_the_wire(admin: Any, alan: User) -> None:
    body = {"display_name": "My Lab", "user_options": {"n": 2}}
    reply = json(admin, "put", LAB, body)

    assert reply.status_code == 201
    assert reply.json() == {
        "name": "lab",
        "display_name": "My Lab",
        "full_name": "alan/lab",
        "last_activity": None,
        "started": None,
        "pending": None,
        "ready": False,
        "stopped": True,
        "url": "/user/alan/lab/",
        "user_options": {"n": 2},
        "progress_url": "/hub/api/users/alan/servers/lab/progress",
        "full_url": None,
        "full_progress_url": None,
        "state": None,
    }
    assert admin.get(LAB).json() == reply.json()


def test_addresses_are_absolute_if_the_public_address_is_set(
    admin: Any, alan: User, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://hub.example"
    make_server(alan, "lab")

    shown = admin.get(LAB).json()

    assert shown["full_url"] == "https://hub.example/user/alan/lab/"
    assert shown["full_progress_url"] == (
        "https://hub.example/hub/api/users/alan/servers/lab/progress"
    )


def test_the_state_needs_its_scope(mine: Any, alan: User) -> None:
    make_server(alan, "lab", state={"pid": 1})

    assert "state" not in mine.get(LAB).json()


@pytest.mark.parametrize("path", ["server", "servers/"])
def test_the_default_server_is_always_there(admin: Any, alan: User, path: str) -> None:
    reply = admin.get(f"{API}/users/alan/{path}")

    assert reply.status_code == 200
    assert reply.json()["full_name"] == "alan/"
    assert reply.json()["url"] == "/user/alan/"
    assert reply.json()["progress_url"] == "/hub/api/users/alan/server/progress"
    assert not Server.objects.exists()


def test_what_is_missing_is_not_found(admin: Any, alan: User) -> None:
    for method in ("get", "delete"):
        assert json(admin, method, LAB).status_code == 404
    assert json(admin, "patch", LAB, {"display_name": "x"}).status_code == 404
    for path in ("server", "servers/lab"):
        assert admin.get(f"{API}/users/nobody/{path}").status_code == 404


def test_any_object_may_be_the_options(admin: Any, alan: User) -> None:
    assert json(admin, "put", LAB, {"profile": "x"}).json()["user_options"] == {
        "profile": "x"
    }


@pytest.mark.parametrize(
    "body",
    [
        [3],
        '"text"',
        {"display_name": 3},
        {"display_name": None},
        {"display_name": "x", "user_options": [1]},
        {"display_name": " x"},
    ],
)
def test_refuses_to_create_what_makes_no_sense(
    admin: Any, alan: User, body: Any
) -> None:
    assert json(admin, "put", LAB, body).status_code == 400
    assert not Server.objects.exists()


def test_creates_once_and_within_limits(admin: Any, alan: User) -> None:
    assert json(admin, "put", LAB).status_code == 201
    assert json(admin, "put", LAB).status_code == 409
    assert json(admin, "put", f"{API}/users/alan/server").status_code == 409
    assert json(admin, "put", f"{API}/users/alan/servers/Not-Valid").status_code == 400
    assert json(admin, "put", f"{API}/users/alan/servers/den").status_code == 201
    assert json(admin, "put", f"{API}/users/alan/servers/pit").status_code == 400
    assert [server.name for server in alan.servers.all()] == ["lab", "den"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 400),
        ({}, 400),
        ([], 400),
        ({"name": "den"}, 409),
        ({"name": "Not Valid"}, 400),
        ({"name": 3}, 400),
        ({"display_name": ""}, 200),
        ({"display_name": None}, 200),
        ({"display_name": " "}, 400),
        ({"name": None}, 200),
        ({"name": ""}, 409),
        ({"name": "lab"}, 409),
        ({"user_options": [1]}, 400),
        ({"user_options": None}, 400),
        ({"colour": "green"}, 400),
    ],
)
def test_bad_changes_change_nothing(
    admin: Any, alan: User, body: Any, status: int
) -> None:
    make_server(alan, "lab", display_name="lab")
    make_server(alan, "den")
    before = list(Server.objects.values())

    assert json(admin, "patch", LAB, body).status_code == status
    assert list(Server.objects.values()) == before


def test_changes_show_at_once(admin: Any, alan: User) -> None:
    make_server(alan, "lab", display_name="lab")

    json(admin, "patch", LAB, {"user_options": {"gpu": True}})
    reply = json(admin, "patch", LAB, {"name": "den", "display_name": "Den"})

    assert reply.status_code == 200
    assert reply.json()["full_name"] == "alan/den"
    assert reply.json()["user_options"] == {"gpu": True}
    assert admin.get(LAB).status_code == 404


def test_stopping_keeps_and_removing_removes(admin: Any, alan: User) -> None:
    make_server(alan, "lab")

    stopped = json(admin, "delete", LAB)
    assert (stopped.status_code, stopped.content) == (204, b"")
    assert "Content-Type" not in stopped.headers
    assert admin.get(LAB).status_code == 200
    assert json(admin, "delete", LAB, {"remove": True}).status_code == 204
    assert json(admin, "delete", LAB, {"remove": True}).status_code == 404


def test_the_default_server_stays(admin: Any, alan: User) -> None:
    path = f"{API}/users/alan/server"

    assert json(admin, "delete", path, {"remove": True}).status_code == 400
    assert json(admin, "delete", path).status_code == 204
    assert json(admin, "delete", path, []).status_code == 204
    assert json(admin, "delete", path, [1]).status_code == 400


def test_named_servers_can_be_switched_off(
    admin: Any, alan: User, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, allow_named_servers=False)
    make_server(alan, "lab")

    assert json(admin, "put", f"{API}/users/alan/servers/den").status_code == 400
    assert json(admin, "post", f"{API}/users/alan/servers/den").status_code == 400
    assert json(admin, "delete", LAB, {"remove": True}).status_code == 400
    assert Server.objects.filter(name="lab").exists()


def test_owners_manage_their_servers_and_others_see_none(
    mine: Any, mallory: User, bearer: Any
) -> None:
    theirs = bearer(make_token(mallory)[1])

    assert json(mine, "put", LAB).status_code == 201
    for method, body in (
        ("get", None),
        ("put", None),
        ("patch", {"display_name": "Mine now"}),
        ("delete", {"remove": True}),
    ):
        assert json(theirs, method, LAB, body).status_code == 404
    assert Server.objects.get().display_name == "lab"
    assert json(mine, "delete", LAB, {"remove": True}).status_code == 204


def test_nobody_gets_into_servers_as_administrator(admin: Any, alan: User) -> None:
    reply = admin.post(f"{API}/users/alan/admin-access")

    assert reply.status_code == 403
    assert "disabled" in reply.json()["message"]


def test_a_server_that_does_not_exist_is_not_found_whatever_its_name(
    admin: Any, alan: User
) -> None:
    for name in ("Not Valid", "none"):
        path = f"{API}/users/alan/servers/{name}"
        assert json(admin, "patch", path, {"display_name": "x"}).status_code == 404


def test_a_name_that_no_server_may_have_is_refused_in_words_that_clients_match(
    admin: Any, alan: User
) -> None:
    for verb in ("put", "post"):
        reply = json(admin, verb, f"{API}/users/alan/servers/Not Valid", {})
        assert reply.status_code == 400
        assert reply.json()["message"] == "Invalid server_name: 'Not Valid'"


def test_options_are_null_until_the_first_start(admin: Any, alan: User) -> None:
    lab = f"{API}/users/alan/servers/lab"
    assert admin.get(f"{API}/users/alan/server").json()["user_options"] is None
    assert admin.put(lab).json()["user_options"] is None
    told = admin.get(f"{API}/users/alan?include_stopped_servers").json()["servers"]
    assert [told[name]["user_options"] for name in ("", "lab")] == [None, None]

    start_server(alan, "lab", by=BY)

    assert admin.get(lab).json()["user_options"] == {}


# Sizes

LARGE = {"profile": "x" * 70_000}
CALLS = (
    ("put", LAB, LARGE),
    ("put", LAB, {"user_options": LARGE}),
    ("post", LAB, LARGE),
    ("post", LAB, {"user_options": LARGE}),
    ("post", f"{API}/users/alan/server", LARGE),
    ("patch", f"{API}/users/alan/servers/old", {"user_options": LARGE}),
)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_user_options_are_limited(
    admin: Any, alan: User, method: str, path: str, body: Any
) -> None:
    old = make_server(alan, "old", user_options={"a": 1})
    reply = json(admin, method, path, body)

    assert reply.status_code == 400
    assert "longer than 65536 characters" in reply.json()["message"]
    assert Server.objects.filter(user=alan).count() == 1
    old.refresh_from_db()
    assert (old.user_options, old.generation) == ({"a": 1}, 0)


def test_the_fields_of_an_announced_proxy_are_limited(admin: Any) -> None:
    path = "x" * 3_000
    for told in ({"api_url": f"http://x/{path}"}, {"auth_token": path * 2}):
        reply = json(admin, "patch", f"{API}/proxy", told)
        assert reply.status_code == 400
        assert "at most" in reply.json()["message"]
