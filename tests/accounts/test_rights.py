"""Rights from the database's rows, also through Django's `has_perm`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts import rights
from accounts.models import Group, User
from scopes.access import EMPTY, Access, Identity, expand
from tests.factories import (
    make_group,
    make_role,
    make_server,
    make_service,
    make_user,
)

pytestmark = pytest.mark.django_db

SELF = "self"


def fresh(user: User) -> User:
    return User.objects.get(pk=user.pk)


def test_a_user_has_the_scopes_of_all_roles(django_assert_num_queries: Any) -> None:
    user = make_user("ada", scopes=["read:hub"])
    make_group("math", users=[user], scopes=["list:users!group=math"])
    make_group("art", users=[user], scopes=["proxy", "read:hub"])
    make_group("other", scopes=["shutdown"])

    with django_assert_num_queries(1):
        access = user.access
        assert user.access is access

    raws = [SELF, "read:hub", "proxy", "list:users!group=math"]
    assert access == Access.of(expand(raws, Identity("user", "ada")))


def test_a_service_has_the_scopes_of_its_roles(django_assert_num_queries: Any) -> None:
    service = make_service("ci", scopes=["read:services!service", SELF])

    with django_assert_num_queries(1):
        access = service.access

    assert access.scopes == {
        "read:services!service=ci",
        "read:services:name!service=ci",
    }


def test_without_roles_there_is_no_access() -> None:
    assert make_user(roles=[]).access is EMPTY
    assert make_service().access is EMPTY


def test_the_admin_flag_alone_gives_nothing() -> None:
    assert make_user(admin=True, roles=[]).access is EMPTY


def test_an_unchanged_row_gives_the_same_object() -> None:
    user = make_user("ada", groups=[make_group("math", scopes=["read:hub"])])

    assert fresh(user).access is fresh(user).access


def test_a_lost_role_counts_at_once() -> None:
    user = make_user("ada", admin=True)
    assert user.access.has("admin:users")

    user.roles.remove(make_role("admin"))

    assert not fresh(user).access.has("admin:users")


def test_a_left_group_counts_at_once() -> None:
    group = make_group("math", scopes=["read:hub"])
    user = make_user("ada", groups=[group])
    assert user.access.has("read:hub")

    group.users.remove(user)
    user.refresh_from_db()

    assert not user.access.has("read:hub")


def test_a_new_name_is_what_self_means() -> None:
    user = make_user("ada")
    User.objects.filter(pk=user.pk).update(name="countess")

    assert fresh(user).access.allows("tokens", obj=fresh(user))
    assert "tokens!user=countess" in fresh(user).access.scopes


@pytest.mark.parametrize("name", ["with, comma", 'quo"te', "new\nline", "ö", "[]"])
def test_group_names_may_hold_any_character(name: str) -> None:
    user = make_user("ada", groups=[make_group(name), make_group("other")])

    texts = rights.read_texts("user", user.pk)
    assert texts
    identity = rights.identity_of("user", user.name, texts[0])

    assert identity == Identity("user", "ada", frozenset({name, "other"}))


def test_a_user_without_groups_is_in_none() -> None:
    user = make_user("ada")

    texts = rights.read_texts("user", user.pk)
    assert texts
    assert rights.identity_of("user", "ada", texts[0]).groups == frozenset()


def test_memberships_are_read_in_one_query(django_assert_num_queries: Any) -> None:
    ada, bob = make_user("ada"), make_user("bob")
    make_group("math", users=[ada])
    make_group("art", users=[ada, bob])
    pairs = {("ada", "math"), ("bob", "math"), ("bob", "art"), ("eve", "none")}

    with django_assert_num_queries(1):
        true = rights.members_among(pairs)

    assert true == {("ada", "math"), ("bob", "art")}
    with django_assert_num_queries(0):
        assert rights.members_among(()) == frozenset()


# Tokens


def token_of(user: User, *scopes: str) -> rights.TokenAccess:
    texts = rights.read_texts("user", user.pk)
    assert texts is not None
    return rights.access_of_token(json.dumps(scopes), None, "user", user.name, *texts)


def test_a_token_follows_from_its_row(django_assert_num_queries: Any) -> None:
    user = make_user("ada", groups=[make_group("math")])

    with django_assert_num_queries(1):
        access, settled = token_of(user, "read:tokens!group=math", "read:hub")

    assert settled
    assert access.has("read:tokens")
    assert access.allows("read:tokens", obj=user)
    assert not access.has("read:hub")


def test_what_hangs_on_others_is_asked_each_time() -> None:
    group = make_group("math")
    bob = make_user("bob")
    user = make_user("ada", scopes=["read:tokens!user=bob"])

    before = token_of(user, "read:tokens!group=math")
    group.users.add(bob)
    during = token_of(user, "read:tokens!group=math")
    group.users.remove(bob)
    after = token_of(user, "read:tokens!group=math")

    assert [each.settled for each in (before, during, after)] == [False] * 3
    assert [each.access.has("read:tokens") for each in (before, during, after)] == [
        False,
        True,
        False,
    ]


def test_an_inheriting_token_is_its_owner() -> None:
    user = make_user("ada", admin=True)

    access, settled = token_of(user, "inherit")

    assert settled
    assert access is user.access


# Sources


def test_another_room_may_add_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "_sources", list(rights._sources))

    def notes(kind: str, vendor: str) -> str | None:
        return "'read:hub proxy'" if kind == "user" else None

    try:
        rights.register_source(notes, str.split)
        rights.register_source(notes, str.split)

        assert make_user(roles=[]).access.scopes == {"read:hub", "proxy"}
        assert make_service().access is EMPTY
        assert len(rights.columns("user")) == len(rights.columns("service"))
    finally:
        rights.forget()


# Django's permissions


def test_administrators_open_the_admin_and_others_do_not() -> None:
    assert make_user(admin=True).is_staff
    assert make_user(scopes=["admin-ui"]).is_staff
    assert not make_user().is_staff


@pytest.mark.parametrize(
    ("scope", "permissions"),
    [
        ("list:users", {"accounts.view_user"}),
        ("list:users!group=math", {"accounts.view_user"}),
        ("read:users", set()),
        (
            "admin:users",
            {
                "accounts.view_user",
                "accounts.add_user",
                "accounts.change_user",
                "accounts.delete_user",
            },
        ),
        ("groups", {"accounts.view_group", "accounts.change_group"}),
        ("delete:groups", {"accounts.delete_group"}),
        ("list:services", {"services.view_service"}),
    ],
)
def test_permissions_are_answered_from_scopes(
    scope: str, permissions: set[str]
) -> None:
    user = make_user(roles=[], scopes=[scope])
    asked = {
        f"{label}.{action}_{model}"
        for label, model in (
            ("accounts", "user"),
            ("accounts", "group"),
            ("services", "service"),
        )
        for action in ("view", "add", "change", "delete")
    }

    assert {perm for perm in asked if user.has_perm(perm)} == permissions
    assert user.has_module_perms("accounts") == any(
        perm.startswith("accounts.view") for perm in permissions
    )


def test_a_permission_for_one_object_asks_the_filter() -> None:
    math = make_group("math")
    ada, bob = make_user("ada", groups=[math]), make_user("bob")
    tutor = make_user(scopes=["list:users!group=math", "groups!group=math"])

    assert tutor.has_perm("accounts.view_user", ada)
    assert not tutor.has_perm("accounts.view_user", bob)
    assert tutor.has_perms(
        ["accounts.view_group", "accounts.change_group"], Group.objects.get()
    )


def test_an_inactive_user_has_no_permission() -> None:
    assert not make_user(admin=True, is_active=False).has_perm("accounts.view_user")


@pytest.mark.parametrize(
    "perm",
    ["sessions.view_session", "nowhere.view_user", "accounts.view", "accounts", ""],
)
def test_what_states_no_scope_is_closed_even_to_administrators(perm: str) -> None:
    assert not make_user(admin=True).has_perm(perm)


# Shares


@pytest.mark.parametrize("recipient", ["user", "group"])
def test_a_share_gives_its_recipient_the_server(recipient: str) -> None:
    server = make_server(make_user("ada"), "lab")
    group = make_group("math")
    bob, eve = make_user("bob", groups=[group]), make_user("eve")
    whose = {"user": bob} if recipient == "user" else {"group": group}
    share = server.shares.create(scopes=["access:servers"], **whose)

    assert bob.access.allows("access:servers", obj=server)
    assert "access:servers!server=ada/lab" in bob.access.scopes
    assert not eve.access.allows("access:servers", obj=server)

    share.delete()

    assert not fresh(bob).access.allows("access:servers", obj=server)
