"""Create, change and delete users and groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from accounts import actions, group_actions, naming
from accounts.models import Group, User
from audit.models import Actor, Event
from scopes.refusals import Conflict, Forbidden, Invalid, NotFound
from tests.factories import make_group, make_server, make_token, make_user, make_users
from tokens.models import APIToken
from tokens.verification import verify

pytestmark = pytest.mark.django_db

BY = Actor("service", "ci")


@pytest.fixture
def configured(settings: Any) -> Callable[..., None]:
    """Return a function that sets options of the hub's configuration."""

    def configure(**options: Any) -> None:
        settings.HUB = dataclasses.replace(settings.HUB, **options)

    return configure


@pytest.fixture
def blocked() -> Iterator[None]:
    """Have a reason why no user may be renamed or deleted."""

    def is_busy(user: User) -> str:
        return f"{user.name} is busy"

    actions.delete_blockers.connect(is_busy)
    yield
    actions.delete_blockers.disconnect(is_busy)


def names() -> set[str]:
    return set(User.objects.values_list("name", flat=True))


def events(action: str) -> list[Event]:
    return list(Event.objects.filter(action=action))


# Names


def test_names_are_lower_cased_and_mapped(configured: Callable[..., None]) -> None:
    configured(username_map={"ada": "lovelace"})

    assert naming.normalise_name("ADA") == "lovelace"
    assert naming.normalise_name("Grace") == "grace"


@pytest.mark.parametrize(
    "name", ["a", "günther", "a b", "a@b", "%2F", "a..b", "x" * 255]
)
def test_accepts_unusual_names(name: str) -> None:
    naming.check_name(name)


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", " a", "a\n", "a\0b", "x" * 256])
def test_refuses_names_that_no_address_can_hold(name: str) -> None:
    with pytest.raises(Invalid, match="Invalid username"):
        naming.check_name(name)


def test_pattern_matches_from_the_start(configured: Callable[..., None]) -> None:
    configured(username_pattern="[a-z]+")

    naming.check_name("abc1")
    with pytest.raises(Invalid) as caught:
        naming.check_name("1abc")
    # Clients match the message; people are told more.
    assert caught.value.message == "Invalid username: 1abc"
    assert "matches [a-z]+." in caught.value.for_people


def test_a_name_that_is_typed_is_found_in_any_spelling(
    configured: Callable[..., None],
) -> None:
    configured(username_map={"the librarian": "librarian"})
    librarian, odd = make_user("librarian"), make_user("Odd")
    other = make_user("odd")

    for typed in ("librarian", "Librarian", " LIBRARIAN ", "The Librarian"):
        assert naming.find_typed_user(typed) == librarian
    # As it stands comes first: programs may have made both.
    assert naming.find_typed_user("Odd") == odd
    assert naming.find_typed_user("ODD") == other
    for typed in ("", "nobody", "libr", "x\0"):
        assert naming.find_typed_user(typed) is None
    among = User.objects.exclude(name="librarian")
    assert naming.find_typed_user("Librarian", among) is None


# Creating users


def test_creates_users_in_the_order_given_with_their_role() -> None:
    users = actions.create_users(["Cleo", "abe", "bob", "abe"], by=BY)

    assert list(users) == ["cleo", "abe", "bob"]
    assert sorted(users.values()) == list(users.values())
    stored = User.objects.get(name="abe")
    assert [role.name for role in stored.roles.all()] == ["user"]
    assert not stored.has_usable_password()
    assert stored.created is not None
    assert stored.is_active


def test_records_one_act_for_many_users() -> None:
    actions.create_users(["a", "b"], by=BY)

    (event,) = events("user.create")
    assert event.detail["names"] == ["a", "b"]
    assert event.actor_name == "ci"


def test_passes_over_users_that_exist() -> None:
    make_user("a")

    assert list(actions.create_users(["a", "b"], by=BY)) == ["b"]


def test_conflicts_only_if_all_exist() -> None:
    make_user("a")
    make_user("b")

    with pytest.raises(Conflict, match="All 2 users"):
        actions.create_users(["a", "b"], by=BY)

    assert not events("user.create")


def test_one_bad_name_creates_nobody() -> None:
    with pytest.raises(Invalid, match="usernames: a/b, "):
        actions.create_users(["good", "a/b", " "], by=BY)

    assert names() == set()


def test_create_one_keeps_the_spelling() -> None:
    actions.create_user("Dave", by=BY)

    assert names() == {"Dave"}
    with pytest.raises(Conflict, match="Dave already exists"):
        actions.create_user("Dave", by=BY)


def test_only_admins_make_admins() -> None:
    with pytest.raises(Forbidden):
        actions.create_users(["a"], admin=True, by=BY)
    assert names() == set()

    actions.create_users(["a"], admin=True, by=BY, by_admin=True)

    user = User.objects.get(name="a")
    assert user.admin
    assert {role.name for role in user.roles.all()} == {"user", "admin"}


def test_the_hub_itself_makes_admins() -> None:
    assert actions.create_user("a", admin=True, by=Actor.system("config")).admin


@pytest.mark.parametrize("number", [2, 200])
def test_costs_the_same_for_few_and_for_many(
    number: int, django_assert_num_queries: Any
) -> None:
    extra = 1 if connection.vendor == "postgresql" else 0

    with django_assert_num_queries(6 + extra):
        actions.create_users([f"u{index}" for index in range(number)], by=BY)


# Changing users


def test_rename_keeps_what_belongs_to_the_user() -> None:
    user = make_user("old", groups=[make_group("g")])
    make_token(user)

    actions.update_user(user, name="New", by=BY)

    renamed = User.objects.get(name="new")
    assert renamed.pk == user.pk
    assert renamed.groups.count() == renamed.api_tokens.count() == 1
    (event,) = events("user.rename")
    assert (event.target_name, event.detail) == ("new", {"old": "old"})


def test_own_name_is_no_rename() -> None:
    user = make_user("ada")

    actions.update_user(user, name="ada", by=BY)

    assert names() == {"ada"}
    assert not events("user.rename")


@pytest.mark.parametrize(("name", "message"), [("b", "unique"), ("a/b", "Invalid")])
def test_refuses_bad_new_names(name: str, message: str) -> None:
    user, _ = make_user("a"), make_user("b")

    with pytest.raises(Invalid, match=message):
        actions.update_user(user, name=name, by=BY)

    assert names() == {"a", "b"}


def test_whom_an_admin_judges_becomes_a_user() -> None:
    ada = make_user("ada")
    ada.roles.clear()
    actions.update_user(ada, admin=False, by=BY, by_admin=True)
    assert [role.name for role in ada.roles.all()] == ["user"]


def test_the_second_change_sees_the_first(alan: User) -> None:
    first, second = User.objects.get(pk=alan.pk), User.objects.get(pk=alan.pk)
    actions.update_user(first, admin=True, by=BY, by_admin=True)

    with pytest.raises(Forbidden, match="modify other admins"):
        actions.update_user(second, name="allen", by=BY)
    second.admin = False
    actions.update_user(second, admin=False, by=BY, by_admin=True)

    alan.refresh_from_db()
    assert not alan.admin
    assert not alan.roles.filter(name="admin").exists()


def test_who_is_gone_is_not_changed(alan: User) -> None:
    User.objects.filter(pk=alan.pk).delete()

    with pytest.raises(NotFound, match="alan"):
        actions.update_user(alan, name="allen", by=BY)
    assert not events("user.rename")


def test_admin_flag_and_role_go_together() -> None:
    user = make_user("ada")

    actions.update_user(user, admin=True, by=BY, by_admin=True)
    assert user.roles.filter(name="admin").exists()
    assert User.objects.get().admin

    actions.update_user(user, admin=False, by=BY, by_admin=True)
    assert not user.roles.filter(name="admin").exists()
    assert not User.objects.get().admin
    assert [event.action for event in Event.objects.order_by("id")] == [
        "user.promote",
        "user.demote",
    ]


@pytest.mark.parametrize("change", [{"admin": True}, {"admin": False}, {"name": "b"}])
def test_others_change_no_admins(change: dict[str, Any]) -> None:
    user = make_user("a", admin=True)

    with pytest.raises(Forbidden, match="other admins"):
        actions.update_user(user, **change, by=BY)

    assert names() == {"a"}
    assert User.objects.get().admin


def test_a_change_is_made_whole_or_not_at_all() -> None:
    user, _ = make_user("a"), make_user("b")

    with pytest.raises(Invalid):
        actions.update_user(user, admin=True, name="b", by=BY, by_admin=True)

    assert not User.objects.get(name="a").admin
    assert not Event.objects.exists()


def test_nobody_deletes_themselves(ada: User) -> None:
    with pytest.raises(Invalid, match="yourself"):
        actions.delete_user(ada, by=Actor("user", "ada"))

    assert names() == {"ada"}


def test_delete_takes_along_what_belongs_to_the_user() -> None:
    user = make_user("a", groups=[make_group("g")])
    make_token(user)
    make_server(user)

    actions.delete_user(user, by=BY)

    assert names() == set()
    assert not APIToken.objects.exists()
    assert Group.objects.get().users.count() == 0
    assert len(events("user.delete")) == 1


def test_blockers_keep_name_and_user(blocked: None) -> None:
    user = make_user("a")

    with pytest.raises(Invalid, match="busy"):
        actions.update_user(user, name="b", by=BY)
    with pytest.raises(Invalid, match="busy"):
        actions.delete_user(user, by=BY)

    assert names() == {"a"}


# Groups


def test_creates_groups_with_the_same_members() -> None:
    make_user("a")
    make_user("b")

    groups = group_actions.create_groups(["x", "y z"], users=["A", "b"], by=BY)

    assert [group.name for group in groups] == ["x", "y z"]
    assert all(group.users.count() == 2 for group in groups)
    (event,) = events("group.create")
    assert event.detail["names"] == ["x", "y z"]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0"])
def test_bad_group_name_creates_no_group(name: str) -> None:
    with pytest.raises(Invalid):
        group_actions.create_groups(["good", name], by=BY)

    assert not Group.objects.exists()


def test_unknown_member_creates_no_group() -> None:
    make_user("a")

    with pytest.raises(Invalid, match="No such user: nobody"):
        group_actions.create_groups(["x", "y"], users=["a", "nobody"], by=BY)

    assert not Group.objects.exists()


def test_groups_before_one_that_exists_stay() -> None:
    make_group("b")

    with pytest.raises(Conflict, match="Group b already exists"):
        group_actions.create_groups(["a", "b", "c"], by=BY)

    assert set(Group.objects.values_list("name", flat=True)) == {"a", "b"}


def test_a_name_given_twice_conflicts_with_itself() -> None:
    with pytest.raises(Conflict):
        group_actions.create_groups(["a", "a"], by=BY)

    assert Group.objects.count() == 1


def test_members_are_added_once(alan: User, data301: Group) -> None:
    make_user("bob")

    group_actions.add_members(data301, ["Alan", "bob", "bob"], by=BY)

    assert set(data301.users.values_list("name", flat=True)) == {"alan", "bob"}


@pytest.mark.parametrize(
    "act", [group_actions.add_members, group_actions.remove_members]
)
def test_unknown_user_changes_no_member(
    act: Callable[..., None], alan: User, mallory: User, data301: Group
) -> None:
    with pytest.raises(Invalid, match="No such user: nobody"):
        act(data301, ["alan", "mallory", "nobody"], by=BY)

    assert [user.name for user in data301.users.all()] == ["alan"]
    assert not Event.objects.exists()


def test_removing_a_stranger_is_no_matter(
    alan: User, mallory: User, data301: Group
) -> None:
    group_actions.remove_members(data301, ["alan", "mallory"], by=BY)

    assert data301.users.count() == 0


@pytest.mark.parametrize("number", [2, 200])
def test_members_cost_the_same_for_few_and_for_many(
    number: int, data301: Group, django_assert_num_queries: Any
) -> None:
    users = [user.name for user in make_users(number)]
    # PostgreSQL needs a lock on the group.
    extra = 1 if connection.vendor == "postgresql" else 0

    with django_assert_num_queries(5 + extra):
        group_actions.add_members(data301, users, by=BY)


def test_a_group_that_is_gone_gets_no_properties(data301: Group) -> None:
    Group.objects.filter(pk=data301.pk).delete()

    with pytest.raises(NotFound, match="data301"):
        group_actions.set_properties(data301, {"a": 1}, by=BY)
    assert not events("group.set_properties")


def test_properties_are_replaced(data301: Group) -> None:
    group_actions.set_properties(data301, {"a": 1}, by=BY)
    group_actions.set_properties(data301, {"b": None}, by=BY)

    assert Group.objects.get().properties == {"b": None}
    # What properties hold may be private; the record keeps their names.
    assert [event.detail for event in events("group.set_properties")] == [
        {"keys": ["b"]},
        {"keys": ["a"]},
    ]


def test_members_outlive_their_group(alan: User, data301: Group) -> None:
    group_actions.delete_group(data301, by=BY)

    assert names() == {"alan"}
    assert not Group.objects.exists()


# Keeping out and letting in


def every(*users: User) -> QuerySet[User]:
    return User.objects.filter(pk__in=[user.pk for user in users])


def test_deactivating_is_one_act_and_counts_who_was_active() -> None:
    users = make_users(3)
    make_users(1, prefix="gone", is_active=False)

    assert actions.deactivate_users(User.objects.all(), by=BY) == 3
    assert actions.deactivate_users(User.objects.all(), by=BY) == 0

    assert not User.objects.filter(is_active=True).exists()
    (event,) = Event.objects.all()
    assert event.action == "user.deactivate"
    assert event.detail["names"] == [user.name for user in users]
    assert event.target == "3 users: student00000, student00001, student00002"
    assert actions.activate_users(every(*users), by=BY) == 3
    assert User.objects.filter(is_active=True).count() == 3
    assert actions.activate_users(User.objects.none(), by=BY) == 0


def test_deactivating_refuses_tokens_until_activated(alan: User) -> None:
    _, secret = make_token(alan)
    assert verify(secret)

    actions.deactivate_users(every(alan), by=BY)
    assert verify(secret) is None

    actions.activate_users(every(alan), by=BY)
    assert verify(secret)


def test_deactivating_ends_tokens_of_sessions_for_good(alan: User) -> None:
    _, secret = make_token(alan, session_id="abc")
    _, of_another = make_token(session_id="def")

    actions.deactivate_users(every(alan), by=BY)
    actions.activate_users(every(alan), by=BY)

    assert verify(secret) is None
    assert verify(of_another)


def test_nobody_deactivates_themselves(ada: User, alan: User) -> None:
    with pytest.raises(Invalid, match="yourself"):
        actions.deactivate_users(
            every(ada, alan), by=Actor("user", "ada"), by_admin=True
        )

    assert User.objects.filter(is_active=True).count() == 2
    assert not Event.objects.exists()


def test_only_admins_deactivate_admins(ada: User, alan: User) -> None:
    with pytest.raises(Forbidden):
        actions.deactivate_users(every(ada, alan), by=BY)

    assert User.objects.filter(is_active=True).count() == 2
    assert actions.deactivate_users(every(ada), by=BY, by_admin=True) == 1
    with pytest.raises(Forbidden):
        actions.activate_users(every(ada), by=BY)


def test_deactivated_users_deactivate_nobody(ada: User) -> None:
    make_user("other", admin=True, is_active=False)

    with pytest.raises(Forbidden):
        actions.deactivate_users(every(ada), by=Actor("user", "other"), by_admin=True)

    assert User.objects.get(name="ada").is_active


def test_the_deactivated_are_found_by_an_index() -> None:
    found = User.objects.filter(is_active=False).order_by("name")[:50]

    if connection.vendor == "sqlite":
        assert "user_deactivated" in found.explain()
