"""What an authenticator says of a person, applied to the account."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, connections

from accounts.answer_actions import apply_answer
from accounts.answers import Answer
from accounts.models import Group, Role, User, UserRole
from audit.models import Actor, Event
from scopes.refusals import Refusal
from tests.factories import make_default_roles, make_group, make_role, make_user
from tests.factories import make_service as make_a_service

pytestmark = pytest.mark.django_db

BY = Actor.system("sign-in")


def apply(**answer: Any) -> User:
    return apply_answer(Answer.read({"name": "ada", **answer}), by=BY)


def roles_of(name: str) -> set[str]:
    return set(Role.objects.filter(users__name=name).values_list("name", flat=True))


def groups_of(name: str) -> set[str]:
    return set(Group.objects.filter(users__name=name).values_list("name", flat=True))


def recorded() -> list[tuple[str, str]]:
    rows = Event.objects.order_by("pk").values_list("action", "target_name")
    return [(action, name) for action, name in rows]


def test_the_first_answer_creates_the_account() -> None:
    user = apply(admin=True, user_info={"mail": "ada@example.org"})

    stored = User.objects.get(name="ada")
    assert (stored.pk, stored.admin) == (user.pk, True)
    assert stored.user_info == {"mail": "ada@example.org"}
    assert stored.auth_refreshed_at is not None
    assert not stored.has_usable_password()
    assert roles_of("ada") == {"user", "admin"}
    assert recorded() == [("user.create", "ada"), ("user.set_info", "ada")]


def test_an_answer_without_changes_records_nothing() -> None:
    answer = {
        "admin": False,
        "groups": ["staff"],
        "user_info": {"a": 1},
        "roles": [{"name": "user"}],
    }
    apply(**answer)
    before = recorded()

    apply(**answer)

    assert recorded() == before


@pytest.mark.parametrize(
    ("flag", "answer", "afterwards"),
    [
        (False, True, True),
        (True, False, False),
        (True, None, True),
        (False, None, False),
    ],
)
def test_admin_of_an_answer_decides_unless_it_is_none(
    flag: bool, answer: bool | None, afterwards: bool
) -> None:
    make_user("ada", admin=flag)

    apply(admin=answer)

    assert User.objects.get(name="ada").admin is afterwards
    assert roles_of("ada") == ({"user", "admin"} if afterwards else {"user"})


def test_groups_become_exactly_those_of_the_answer() -> None:
    ada = make_user("ada")
    make_group("old", users=[ada])
    make_group("kept", users=[ada])
    make_group("known")

    apply(groups=["kept", "known", "new"])

    assert groups_of("ada") == {"kept", "known", "new"}
    assert recorded() == [
        ("group.create", "new"),
        ("group.add_members", "known"),
        ("group.add_members", "new"),
        ("group.remove_members", "old"),
    ]


def test_an_answer_without_groups_leaves_them() -> None:
    make_group("old", users=[make_user("ada")])

    apply()
    apply(groups=None)

    assert groups_of("ada") == {"old"}


def test_a_change_of_groups_counts_for_the_next_question() -> None:
    ada = make_user("ada")
    make_group("readers", scopes=["list:users"])
    assert not ada.access.has("list:users")

    apply(groups=["readers"])
    assert User.objects.get(name="ada").access.has("list:users")

    apply(groups=[])
    assert not User.objects.get(name="ada").access.has("list:users")


def test_every_role_that_the_answer_does_not_name_is_taken_away() -> None:
    ada = make_user("ada", admin=True)
    make_role("by-hand", "list:users", users=[ada])

    apply(admin=True, roles=[{"name": "teacher", "scopes": ["list:groups"]}])

    assert roles_of("ada") == {"teacher"}
    assert not User.objects.get(name="ada").admin
    teacher = Role.objects.get(name="teacher")
    assert (teacher.scopes, teacher.managed_by_auth) == (["list:groups"], True)
    assert UserRole.objects.get(role=teacher).managed_by_auth
    # A role that the configuration declared stays, also without a holder.
    assert Role.objects.filter(name="by-hand").exists()


def test_the_role_admin_in_an_answer_makes_an_administrator() -> None:
    apply(roles=[{"name": "user"}, {"name": "admin"}])

    assert User.objects.get(name="ada").admin
    assert roles_of("ada") == {"user", "admin"}


def test_a_role_of_answers_is_deleted_with_its_last_holder() -> None:
    apply(roles=[{"name": "first-year", "scopes": ["list:users"]}])

    apply(roles=[{"name": "second-year", "scopes": ["list:users"]}])

    assert not Role.objects.filter(name="first-year").exists()
    assert ("role.delete", "first-year") in recorded()


def test_a_role_of_answers_stays_for_other_holders() -> None:
    role = {"name": "first-year", "scopes": ["list:users"]}
    apply(roles=[role])
    apply(name="alan", roles=[role])

    apply(roles=[])

    assert roles_of("ada") == set()
    assert roles_of("alan") == {"first-year"}


def test_scopes_and_description_of_a_role_follow_the_answer() -> None:
    apply(roles=[{"name": "tutor", "scopes": ["list:users"], "description": "Old"}])

    apply(roles=[{"name": "tutor", "scopes": ["list:groups"], "description": "New"}])
    apply(roles=[{"name": "tutor"}])
    apply(roles=[{"name": "tutor", "scopes": []}])

    role = Role.objects.get(name="tutor")
    assert (role.scopes, role.description) == (["list:groups"], "New")


def test_a_role_with_holders_is_held_by_these_alone() -> None:
    alan, grace = make_user("alan"), make_user("grace")
    staff, guests = make_group("staff"), make_group("guests")
    service = make_a_service("grader")
    role = make_role("course", "list:users", users=[alan], groups=[guests])

    apply(
        roles=[
            {
                "name": "course",
                "users": ["grace", "nobody"],
                "groups": ["staff"],
                "services": ["grader"],
            }
        ]
    )

    assert set(role.users.values_list("name", flat=True)) == {"ada", "grace"}
    assert list(role.groups.all()) == [staff]
    assert list(role.services.all()) == [service]
    assert grace.pk and alan.pk


@pytest.mark.parametrize(
    "wrong",
    [
        {"roles": [{"name": "Wrong Name"}]},
        {"roles": [{"name": "fine-name", "scopes": ["no-such-scope"]}]},
        {"roles": [{"name": "admin", "scopes": ["list:users"]}]},
        {"roles": ["user"]},
        {"roles": "user"},
        {"groups": "staff"},
        {"groups": [""]},
        {"groups": ["x" * 256]},
        {"groups": [1]},
        {"groups": [f"g{number}" for number in range(2_001)]},
        {"user_info": ["a"]},
        {"user_info": {"a": "x" * 70_000}},
        {"auth_state": "a"},
        {"name": ""},
        {"name": "a/b"},
        {"name": None},
    ],
)
def test_a_wrong_answer_changes_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        apply(**{"admin": True, "groups": ["staff"], **wrong})

    assert not User.objects.exists()
    assert not Group.objects.exists()
    assert not Event.objects.exists()


def test_user_info_is_stored_as_databases_can() -> None:
    apply(user_info={"a": "\0\ud800", "b": [float("inf")]})

    assert User.objects.get(name="ada").user_info == {"a": "\ufffd?", "b": [None]}


def test_auth_state_is_encrypted(keys: Callable[..., None]) -> None:
    keys(b"1" * 32)

    user = apply(auth_state={"token": "clear-text"})

    stored = bytes(User.objects.get(pk=user.pk).auth_state.encrypted)
    assert stored.startswith(b"gAAAAA")
    assert b"clear-text" not in stored
    assert "clear-text" not in str(list(Event.objects.values()))


@pytest.fixture
def keys(settings: Any) -> Callable[..., None]:
    def use(*keys: bytes) -> None:
        settings.HUB = replace(settings.HUB, crypt_keys=keys)

    return use


@pytest.mark.django_db(transaction=True)
def test_sign_ins_at_once_agree() -> None:
    """Two people and one person twice, who bring the same new groups and roles."""
    make_default_roles()
    names = ["ada", "ada", "alan", "grace"]

    def sign_in(turn: int, name: str) -> None:
        groups = ["g1", "g2", "g3"] if turn % 2 else ["g3", "g2", "g1"]
        roles = [{"name": f"role-{each}", "scopes": ["list:users"]} for each in "abc"]
        roles = roles[:: 1 if turn % 2 else -1]
        try:
            for _ in range(3):
                apply(name=name, groups=groups, roles=roles)
                apply(name=name, groups=[], roles=[])
            apply(name=name, groups=groups, roles=roles)
        finally:
            connections.close_all()

    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        for turn, name in enumerate(names):
            sign_in(turn, name)
    else:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(sign_in, range(len(names)), names))

    for name in set(names) - {"ada"}:
        assert groups_of(name) == {"g1", "g2", "g3"}
        assert roles_of(name) == {"role-a", "role-b", "role-c"}
