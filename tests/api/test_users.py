"""Users: their visible keys, and how to create, change and delete them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
import time_machine
from django.test import Client

from accounts.models import Group, User
from audit.models import Event
from tests.api.test_base import message_of
from tests.conftest import API, BearerClient
from tests.factories import (
    make_group,
    make_role,
    make_server,
    make_service,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def manager(holding: Callable[..., BearerClient]) -> BearerClient:
    """A program that manages users and is no administrator."""
    return holding("admin:users", "admin:servers")


def names() -> set[str]:
    return set(User.objects.values_list("name", flat=True))


# The model


def test_shows_all_keys_with_all_scopes(manager: BearerClient) -> None:
    make_user(
        "alan",
        groups=[make_group("data301")],
        created=NOON.replace(microsecond=0),
        last_activity=NOON,
        user_info={"ö": [1]},
    )

    assert manager.get(f"{API}/users/alan").json() == {
        "kind": "user",
        "name": "alan",
        "admin": False,
        "user_info": {"ö": [1]},
        "roles": ["user"],
        "groups": ["data301"],
        "server": None,
        "pending": None,
        "created": "2026-01-02T12:00:00Z",
        "last_activity": "2026-01-02T12:00:00.123456Z",
        "servers": {},
        "auth_state": None,
    }


@pytest.mark.parametrize(
    ("scope", "keys"),
    [
        ("read:users:name", {"admin", "user_info"}),
        ("read:users:groups", {"groups"}),
        ("read:users:activity", {"last_activity"}),
        ("read:roles:users", {"admin", "roles"}),
        ("read:servers", {"admin", "user_info", "servers"}),
        (
            "read:users",
            {
                "admin",
                "user_info",
                "roles",
                "groups",
                "server",
                "pending",
                "created",
                "last_activity",
            },
        ),
    ],
)
@pytest.mark.parametrize("limit", ["", "!user=alan", "!group=data301"])
def test_each_scope_shows_its_keys(
    holding: Callable[..., BearerClient],
    alan: User,
    scope: str,
    keys: set[str],
    limit: str,
) -> None:
    client = holding(scope + limit)

    assert client.get(f"{API}/users/alan").json().keys() == {"kind", "name"} | keys


def test_names_are_written_as_they_are(manager: BearerClient) -> None:
    for name in ('quo"te', "back\\slash", "per%cent", "günther-名前", "a b", "x\ty"):
        make_user(name, groups=[make_group(f"of {name}")])

    for user in manager.get(f"{API}/users").json():
        assert user["groups"] == [f"of {user['name']}"]
    response = manager.get(f"{API}/users/g%C3%BCnther-%E5%90%8D%E5%89%8D")
    assert response.json()["name"] == "günther-名前"
    assert response.content.isascii()


def test_lists_active_servers(manager: BearerClient) -> None:
    user = make_user("a@b")
    make_server(
        user,
        ready=True,
        started=NOON,
        last_activity=NOON,
        user_options={"n": 1},
        state={"pid": 7},
    )
    make_server(user, "lab", display_name="The Läb", pending="spawn")
    make_server(user, "off")

    data = manager.get(f"{API}/users/a@b").json()

    assert data["server"] == "/user/a@b/"
    assert data["pending"] is None
    assert data["servers"].keys() == {"", "lab"}
    assert data["servers"][""] == {
        "name": "",
        "display_name": "",
        "full_name": "a@b/",
        "last_activity": "2026-01-02T12:00:00.123456Z",
        "started": "2026-01-02T12:00:00.123456Z",
        "pending": None,
        "ready": True,
        "stopped": False,
        "url": "/user/a@b/",
        "user_options": {"n": 1},
        "progress_url": "/hub/api/users/a@b/server/progress",
        "full_url": None,
        "full_progress_url": None,
        "state": {"pid": 7},
    }
    lab = data["servers"]["lab"]
    assert lab["display_name"] == "The Läb"
    assert (lab["pending"], lab["ready"], lab["stopped"]) == ("spawn", False, False)
    assert manager.get(f"{API}/users").json()[-1] == data


def test_pending_is_that_of_the_default_server(manager: BearerClient) -> None:
    make_server(make_user("a"), pending="stop")

    data = manager.get(f"{API}/users/a").json()

    assert (data["server"], data["pending"]) == (None, "stop")


@pytest.mark.parametrize(
    ("query", "servers"),
    [
        ("", set()),
        ("include_stopped_servers", {"", "off"}),
        ("include_stopped_servers=1", {"", "off"}),
        ("include_stopped_servers=no", {"", "off"}),
        ("include_stopped_servers=0", set()),
        ("include_stopped_servers=False", set()),
    ],
)
def test_stopped_servers_are_included_on_request(
    manager: BearerClient, query: str, servers: set[str]
) -> None:
    make_server(make_user("a"), "off")

    one = manager.get(f"{API}/users/a?{query}").json()
    (listed,) = [
        user
        for user in manager.get(f"{API}/users?{query}").json()
        if user["name"] == "a"
    ]

    assert one["servers"].keys() == servers
    assert listed == one


def test_state_is_for_those_who_administer_the_server(
    holding: Callable[..., BearerClient],
) -> None:
    user = make_user("a")
    make_server(user, ready=True, state={"pid": 7})
    make_server(user, "lab", ready=True, state={"pid": 8})

    client = holding("read:servers", "admin:server_state!server=a/lab")

    servers = client.get(f"{API}/users/a").json()["servers"]
    assert "state" not in servers[""]
    assert servers["lab"]["state"] == {"pid": 8}


def test_one_server_may_be_all_that_is_seen(
    holding: Callable[..., BearerClient],
) -> None:
    user = make_user("a")
    make_server(user, ready=True)
    make_server(user, "lab", ready=True)
    client = holding("list:users", "read:servers!server=a/lab")

    (seen, *_) = client.get(f"{API}/users?name_filter=a&sort=id").json()

    assert seen["servers"].keys() == {"lab"}
    User.objects.get().servers.all().delete()
    assert "servers" not in client.get(f"{API}/users").json()[0]


def test_lookups_are_exact(manager: BearerClient) -> None:
    make_user("dave")

    message_of(manager.get(f"{API}/users/Dave"), 404)
    message_of(manager.get(f"{API}/users/a%2Fb"), 404)


# Creating


def test_creates_users(manager: BearerClient) -> None:
    make_user("old")

    response = manager.post(f"{API}/users", {"usernames": ["New", "old", "b"]})

    assert response.status_code == 201
    created = response.json()
    assert [user["name"] for user in created] == ["new", "b"]
    assert created[0] == manager.get(f"{API}/users/new").json()
    assert created[0]["roles"] == ["user"]


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        ["a"],
        "a",
        {"usernames": []},
        {"usernames": None},
        {"usernames": "xy"},
        {"usernames": ["ok", 3]},
        {"usernames": ["ok", None]},
        {"usernames": [["ok"]]},
        {"usernames": {"ok": 1}},
        {"usernames": ["ok"], "colour": "green"},
        {"usernames": ["ok"], "admin": "yes"},
        {"usernames": ["ok"], "admin": 1},
        {"usernames": ["ok", "a/b"]},
        {"usernames": ["ok", ""]},
        {"usernames": ["ok", ".."]},
        {"usernames": ["ok", "%2e%2E"]},
        {"usernames": ["ok"], "auth_state": None},
        {"usernames": ["ok", "x" * 256]},
    ],
)
def test_bad_lists_create_nobody(manager: BearerClient, body: Any) -> None:
    message_of(manager.post(f"{API}/users", body), 400)

    assert names() == set()


def test_names_given_twice_are_returned_twice(manager: BearerClient) -> None:
    reply = manager.post(f"{API}/users", {"usernames": ["b", "a", "B"]})

    assert [user["name"] for user in reply.json()] == ["b", "a", "b"]
    assert names() == {"a", "b"}


def test_callers_with_the_scope_learn_why_a_name_is_invalid(
    manager: BearerClient, ada: User
) -> None:
    for name in ("a/b", "ada "):
        message_of(
            manager.patch(
                f"{API}/users/ada", {"name": name}, content_type="application/json"
            ),
            400,
        )


def test_existing_users_conflict(manager: BearerClient) -> None:
    make_user("a")

    message_of(manager.post(f"{API}/users", {"usernames": ["A"]}), 409)
    message_of(manager.post(f"{API}/users/a"), 409)

    assert names() == {"a"}


def test_one_user_keeps_the_spelling(manager: BearerClient) -> None:
    response = manager.post(f"{API}/users/Dave", {"name": "ignored"})

    assert (response.status_code, response.json()["name"]) == (201, "Dave")
    assert names() == {"Dave"}


@pytest.mark.parametrize("body", [None, {}, []])
def test_one_user_needs_no_body(manager: BearerClient, body: Any) -> None:
    content = b"" if body is None else body

    assert manager.post(f"{API}/users/new", content).status_code == 201


@pytest.mark.parametrize(
    "body", [{"admin": "yes"}, {"colour": 1}, {"groups": "x"}, {"name": 3}, ["x"], "x"]
)
def test_bad_models_create_nobody(manager: BearerClient, body: Any) -> None:
    message_of(manager.post(f"{API}/users/new", body), 400)

    assert names() == set()


@pytest.mark.parametrize("name", ["..", "%252E%252e", "%20a", "a%0A", "x" * 256])
def test_bad_names_create_nobody(manager: BearerClient, name: str) -> None:
    message = message_of(manager.post(f"{API}/users/{name}"), 400)

    # JupyterHub says the same for one user, and "Invalid username" for a list.
    assert message == f"Failed to create user: {unquote(name)}"
    assert names() == set()


def test_filtered_scope_creates_what_it_names(
    holding: Callable[..., BearerClient],
) -> None:
    client = holding("admin:users!user=new")

    assert client.post(f"{API}/users/new").status_code == 201
    message_of(client.post(f"{API}/users/other"), 404)
    assert names() == {"new"}


def test_only_admins_make_admins(manager: BearerClient, admin: BearerClient) -> None:
    for place, body in (
        ("users/new", {"admin": True}),
        ("users", {"usernames": ["new"], "admin": True}),
    ):
        message_of(manager.post(f"{API}/{place}", body), 403)
    assert names() == {"ada"}

    response = admin.post(f"{API}/users/new", {"admin": True})

    assert response.json()["admin"] is True
    assert set(response.json()["roles"]) == {"user", "admin"}


def test_service_marked_admin_makes_admins(api: Callable[..., BearerClient]) -> None:
    response = api(make_service(admin=True)).post(f"{API}/users/new", {"admin": True})

    assert response.json()["admin"] is True


# Changing


def test_renames(manager: BearerClient, alan: User) -> None:
    _, secret = make_token(alan)

    response = manager.patch(
        f"{API}/users/alan", {"name": "Turing"}, content_type="application/json"
    )

    assert (response.status_code, response.json()["name"]) == (200, "turing")
    assert response.json()["groups"] == ["data301"]
    assert BearerClient(secret).get(f"{API}/user").json()["name"] == "turing"


@pytest.mark.parametrize("body", [{}, {"name": "alan"}, {"admin": False}])
def test_no_change_is_none(manager: BearerClient, alan: User, body: Any) -> None:
    before = manager.get(f"{API}/users/alan").json()

    response = manager.patch(f"{API}/users/alan", body, content_type="application/json")

    assert response.json() == before
    assert not Event.objects.filter(action__in=("user.rename", "user.demote")).exists()


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "x",
        {"name": ""},
        {"name": None},
        {"name": 3},
        {"name": "a/b"},
        {"name": "mallory"},
        {"name": "ALAN"},
        {"admin": None},
        {"groups": ["x"]},
        {"roles": ["admin"]},
        {"auth_state": {"a": 1}},
        {"auth_state": None},
        {"colour": 1},
    ],
)
def test_bad_changes_change_nothing(
    manager: BearerClient, alan: User, mallory: User, body: Any
) -> None:
    response = manager.patch(f"{API}/users/alan", body, content_type="application/json")

    message_of(response, 400)
    assert names() == {"alan", "mallory"}
    assert not Event.objects.filter(target_name="alan").exists()


def test_active_servers_keep_their_owners_name(
    manager: BearerClient, alan: User
) -> None:
    make_server(alan, "lab", ready=True)

    renamed = manager.patch(
        f"{API}/users/alan", {"name": "b"}, content_type="application/json"
    )

    message_of(renamed, 400)
    assert names() == {"alan"}


def test_unknown_user_is_not_changed(manager: BearerClient) -> None:
    body = {"admin": False}
    message_of(
        manager.patch(f"{API}/users/x", body, content_type="application/json"), 404
    )
    message_of(manager.delete(f"{API}/users/x"), 404)


def test_admins_demote_themselves(admin: BearerClient) -> None:
    body = {"admin": False}

    response = admin.patch(f"{API}/users/ada", body, content_type="application/json")

    # The token's owner is none any more when the answer is written.
    assert response.status_code == 200
    message_of(admin.get(f"{API}/users"), 403)


# Deleting


def test_deletes(manager: BearerClient, alan: User, data301: Group) -> None:
    make_token(alan)
    make_server(alan)
    make_role("of-alan", "list:users", users=[alan])

    response = manager.delete(f"{API}/users/alan")

    assert (response.status_code, response.content) == (204, b"")
    assert "Content-Type" not in response
    assert names() == set()
    assert data301.users.count() == 0


def test_nobody_deletes_themselves(admin: BearerClient) -> None:
    message_of(admin.delete(f"{API}/users/ada"), 400)

    assert names() == {"ada"}


# Whoami


def test_whoami_has_user_and_token(
    api: Callable[..., BearerClient], alan: User
) -> None:
    with time_machine.travel(NOON, tick=False):
        data = api(alan, "read:users!user").get(f"{API}/user").json()

    assert data["name"] == "alan"
    assert data["groups"] == ["data301"]
    assert data["last_activity"] == "2026-01-02T12:00:00.123456Z"
    assert data["token_id"] == f"a{alan.api_tokens.get().pk}"
    assert data["session_id"] is None
    assert data["scopes"] == sorted(data["scopes"])
    assert "read:users!user=alan" in data["scopes"]


def test_whoami_always_has_the_name(api: Callable[..., BearerClient]) -> None:
    user = make_user("nobody", roles=[], groups=[make_group("g")])

    data = api(user).get(f"{API}/user").json()

    assert data["scopes"] == []
    assert (data["name"], data["groups"]) == ("nobody", ["g"])


def test_whoami_of_a_service(api: Callable[..., BearerClient]) -> None:
    service = make_service("ci", scopes=["read:services"], url="http://x")

    data = api(service).get(f"{API}/user").json()

    assert {key: data[key] for key in ("kind", "name", "url", "prefix", "info")} == {
        "kind": "service",
        "name": "ci",
        "url": "http://x",
        "prefix": "/services/ci/",
        "info": None,
    }
    assert data["scopes"] == ["read:services", "read:services:name"]
    assert api(make_service("poor")).get(f"{API}/user").json().keys() == {
        "kind",
        "name",
        "admin",
        "token_id",
        "session_id",
        "scopes",
    }


def test_whoami_of_a_session(as_: Callable[..., Client], alan: User) -> None:
    data = as_(alan).get(f"{API}/user").json()

    assert (data["name"], data["token_id"]) == ("alan", None)
    assert "read:users!user=alan" in data["scopes"]


def test_whoami_follows_every_change(
    api: Callable[..., BearerClient], alan: User
) -> None:
    client = api(alan)
    assert client.get(f"{API}/user").json()["admin"] is False

    make_role("admin", users=[alan])
    User.objects.update(admin=True)
    make_server(alan, ready=True)

    data = client.get(f"{API}/user").json()
    assert data["admin"] is True
    assert data["server"] == "/user/alan/"
    assert "admin:users" in data["scopes"]


def test_whoami_takes_one_query(
    api: Callable[..., BearerClient], alan: User, django_assert_num_queries: Any
) -> None:
    client = api(alan)

    for _ in range(2):
        with django_assert_num_queries(1):
            assert client.get(f"{API}/user").status_code == 200


def test_one_user_takes_two_queries(
    admin: BearerClient, alan: User, django_assert_num_queries: Any
) -> None:
    make_server(alan, ready=True)
    admin.get(f"{API}/users/alan")

    with django_assert_num_queries(2):
        admin.get(f"{API}/users/alan")
