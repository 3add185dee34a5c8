"""Groups: their visible keys, members and properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from accounts.models import Group, User
from audit.models import Event
from tests.api.test_base import message_of
from tests.conftest import API, BearerClient
from tests.factories import make_group, make_role, make_user, make_users

pytestmark = pytest.mark.django_db

PLACE = f"{API}/groups/data301"


@pytest.fixture
def manager(holding: Callable[..., BearerClient]) -> BearerClient:
    return holding("admin:groups")


def members(name: str = "data301") -> set[str]:
    return set(Group.objects.get(name=name).users.values_list("name", flat=True))


def send(client: BearerClient, method: str, place: str, body: Any) -> Any:
    return getattr(client, method)(place, body, content_type="application/json")


def test_shows_all_keys_with_all_scopes(
    manager: BearerClient, alan: User, data301: Group
) -> None:
    make_role("graders", "read:users", groups=[data301])
    Group.objects.update(properties={"ö": [1, None]})

    assert manager.get(PLACE).json() == {
        "kind": "group",
        "name": "data301",
        "users": ["alan"],
        "properties": {"ö": [1, None]},
        "roles": ["graders"],
    }


@pytest.mark.parametrize(
    ("scope", "keys"),
    [
        ("read:groups:name", set()),
        ("read:groups", {"users", "properties"}),
        ("read:roles:groups", {"roles"}),
    ],
)
@pytest.mark.parametrize("limit", ["", "!group=data301"])
def test_each_scope_shows_its_keys(
    holding: Callable[..., BearerClient],
    data301: Group,
    scope: str,
    keys: set[str],
    limit: str,
) -> None:
    data = holding(scope + limit).get(PLACE).json()

    assert data.keys() == {"kind", "name"} | keys


def test_members_are_read_only_if_they_are_visible(
    holding: Callable[..., BearerClient], alan: User
) -> None:
    make_group("other", users=[alan])
    client = holding("list:groups", "read:groups!group=data301")

    groups = {group["name"]: group for group in client.get(f"{API}/groups").json()}

    assert groups["data301"]["users"] == ["alan"]
    assert "users" not in groups["other"]


def test_unusual_names_are_written_as_they_are(manager: BearerClient) -> None:
    for name in ('quo"te', "back\\slash", "per%cent", "spät ä", "MiXed"):
        make_group(name, users=[make_user(f"in {name}")])

    for group in manager.get(f"{API}/groups").json():
        assert group["users"] == [f"in {group['name']}"]
    assert manager.get(f"{API}/groups/sp%C3%A4t%20%C3%A4").status_code == 200
    message_of(manager.get(f"{API}/groups/mixed"), 404)


# Creating and deleting


def test_creates_groups(manager: BearerClient, alan: User, mallory: User) -> None:
    body = {"groups": ["x", "a y"], "users": ["ALAN", "mallory"]}

    response = manager.post(f"{API}/groups", body)

    assert response.status_code == 201
    assert [group["name"] for group in response.json()] == ["x", "a y"]
    assert members("a y") == {"alan", "mallory"}


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        ["a"],
        {"groups": []},
        {"groups": None},
        {"groups": "xy"},
        {"groups": ["ok", 3]},
        {"groups": ["ok", ""]},
        {"groups": ["ok", "x" * 256]},
        {"groups": ["ok"], "users": ["nobody"]},
        {"groups": ["ok"], "users": "alan"},
        {"groups": ["ok"], "users": [None]},
        {"groups": ["ok"], "properties": {}},
        {"usernames": ["ok"]},
    ],
)
def test_bad_lists_create_no_group(manager: BearerClient, body: Any) -> None:
    message_of(manager.post(f"{API}/groups", body), 400)

    assert not Group.objects.exists()
    assert not Event.objects.filter(action="group.create").exists()


def test_creates_one_group_with_members(manager: BearerClient, alan: User) -> None:
    body = {"name": "ignored", "roles": ["ignored"], "users": ["alan"]}

    response = manager.post(f"{API}/groups/new", body)

    assert response.status_code == 201
    assert response.json()["users"] == ["alan"]
    assert response.json()["roles"] == []


@pytest.mark.parametrize(
    "body", [{"users": ["nobody"]}, {"users": "alan"}, {"properties": {}}, ["x"], "x"]
)
def test_bad_models_create_no_group(
    manager: BearerClient, alan: User, body: Any
) -> None:
    message_of(manager.post(f"{API}/groups/new", body), 400)

    assert not Group.objects.filter(name="new").exists()


def test_existing_groups_conflict(manager: BearerClient, data301: Group) -> None:
    message_of(send(manager, "post", PLACE, {}), 409)
    message_of(manager.post(f"{API}/groups", {"groups": ["data301"]}), 409)

    assert Group.objects.count() == 1


def test_filtered_scope_creates_what_it_names(
    holding: Callable[..., BearerClient],
) -> None:
    client = holding("admin:groups!group=new")

    assert client.post(f"{API}/groups/new", {}).status_code == 201
    message_of(client.post(f"{API}/groups/other", {}), 404)
    message_of(client.post(f"{API}/groups", {"groups": ["new2"]}), 403)
    assert Group.objects.count() == 1


def test_deletes(manager: BearerClient, alan: User) -> None:
    response = manager.delete(PLACE)

    assert (response.status_code, response.content) == (204, b"")
    assert not Group.objects.exists()
    assert User.objects.filter(name="alan").exists()
    message_of(manager.delete(PLACE), 404)


# Members


def test_members_come_and_go(manager: BearerClient, alan: User, mallory: User) -> None:
    added = manager.post(f"{PLACE}/users", {"users": ["Mallory", "alan"]})
    assert added.status_code == 200
    assert set(added.json()["users"]) == {"alan", "mallory"}
    assert added.json() == manager.get(PLACE).json()

    removed = send(manager, "delete", f"{PLACE}/users", {"users": ["alan"]})
    assert removed.json()["users"] == ["mallory"]
    again = send(manager, "delete", f"{PLACE}/users", {"users": ["alan"]})
    assert again.json() == removed.json()


def test_the_documented_example_works(
    manager: BearerClient, alan: User, mallory: User
) -> None:
    body = {"name": "mygroup", "users": ["alan", "mallory"]}

    response = manager.post(f"{PLACE}/users", body)

    assert response.json()["name"] == "data301"
    assert members() == {"alan", "mallory"}


@pytest.mark.parametrize("method", ["post", "delete"])
@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        ["alan"],
        {"users": "alan"},
        {"users": ["mallory", "nobody"]},
        {"users": ["mallory", 3]},
        {"users": ["mallory", None]},
        {"usernames": ["mallory"]},
        {"users": ["mallory"], "properties": {}},
    ],
)
def test_bad_lists_change_no_member(
    manager: BearerClient, alan: User, mallory: User, method: str, body: Any
) -> None:
    message_of(send(manager, method, f"{PLACE}/users", body), 400)

    assert members() == {"alan"}
    assert not Event.objects.filter(target_kind="group").exists()


@pytest.mark.parametrize("method", ["post", "delete"])
def test_unknown_group_has_no_members(
    manager: BearerClient, alan: User, method: str
) -> None:
    place = f"{API}/groups/nowhere/users"

    message_of(send(manager, method, place, {"users": ["alan"]}), 404)


def test_members_are_not_read_alone(manager: BearerClient, data301: Group) -> None:
    message_of(manager.get(f"{PLACE}/users"), 405)


def test_joining_gives_the_rights_of_the_group_at_once(
    manager: BearerClient, api: Callable[..., BearerClient], mallory: User
) -> None:
    make_group("staff", scopes=["list:users"])
    client = api(mallory)
    assert client.get(f"{API}/users").status_code == 403

    manager.post(f"{API}/groups/staff/users", {"users": ["mallory"]})
    assert client.get(f"{API}/users").status_code == 200

    send(manager, "delete", f"{API}/groups/staff/users", {"users": ["mallory"]})
    assert client.get(f"{API}/users").status_code == 403


@pytest.mark.parametrize("size", [2, 200])
def test_changes_cost_the_same_for_few_and_for_many(
    manager: BearerClient, data301: Group, size: int, django_assert_num_queries: Any
) -> None:
    body = {"users": [user.name for user in make_users(size)]}
    manager.get(PLACE)
    # PostgreSQL needs a lock on the group.
    extra = 1 if connection.vendor == "postgresql" else 0

    with django_assert_num_queries(8 + extra):
        assert manager.post(f"{PLACE}/users", body).status_code == 200


# Properties


def test_properties_are_replaced_as_a_whole(
    manager: BearerClient, data301: Group
) -> None:
    for properties in ({"a": 1, "nested": {"b": [True]}}, {"c": None}, {}):
        response = send(manager, "put", f"{PLACE}/properties", properties)
        assert response.json()["properties"] == properties


@pytest.mark.parametrize("body", [None, [], ["a"], "a", 1, True])
def test_properties_are_an_object(
    manager: BearerClient, data301: Group, body: Any
) -> None:
    Group.objects.update(properties={"a": 1})

    message_of(send(manager, "put", f"{PLACE}/properties", body), 400)

    assert Group.objects.get().properties == {"a": 1}


def test_properties_are_limited_in_size(manager: BearerClient, data301: Group) -> None:
    response = send(manager, "put", f"{PLACE}/properties", {"a": "x" * 70_000})

    assert "at most 65536 characters" in message_of(response, 400)
    assert Group.objects.get().properties == {}


def test_unknown_group_has_no_properties(manager: BearerClient) -> None:
    message_of(send(manager, "put", f"{API}/groups/nowhere/properties", {}), 404)
