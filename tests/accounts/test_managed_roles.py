"""Roles that an authenticator loads at a start."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.answer_actions import apply_answer
from accounts.answers import Answer
from accounts.managed_roles import load_managed_roles, read_roles
from accounts.models import Group, Role, User, UserRole
from audit.models import Actor
from hubsite.config.reconcile import reconcile
from scopes.refusals import Refusal
from tests.factories import make_group, make_role, make_service, make_user

pytestmark = pytest.mark.django_db

BY = Actor.system("authenticator")


def load(*roles: dict[str, Any], reset: bool = False) -> None:
    load_managed_roles(read_roles(roles), reset=reset, by=BY)


def holders(role: str, kind: str = "users") -> set[str]:
    found = getattr(Role.objects.get(name=role), kind)
    return set(found.values_list("name", flat=True))


def sign_in(name: str, *roles: str) -> User:
    wanted = [{"name": role, "scopes": ["list:users"]} for role in roles]
    return apply_answer(Answer.read({"name": name, "roles": wanted}), by=BY)


def test_roles_are_made_with_their_holders() -> None:
    make_user("ada")
    make_service("grader")

    load(
        {
            "name": "tutor",
            "scopes": ["list:users"],
            "users": ["Ada", "newcomer"],
            "groups": ["staff"],
            "services": ["grader"],
        }
    )

    role = Role.objects.get(name="tutor")
    assert (role.managed_by_auth, role.scopes) == (True, ["list:users"])
    assert holders("tutor") == {"ada", "newcomer"}
    assert holders("tutor", "groups") == {"staff"}
    assert holders("tutor", "services") == {"grader"}
    assert UserRole.objects.filter(role=role, managed_by_auth=True).count() == 2
    assert Group.objects.filter(name="staff").exists()


def test_a_second_start_sets_what_changed() -> None:
    load({"name": "tutor", "scopes": ["list:users"], "users": ["ada"]})
    make_group("staff")

    load({"name": "tutor", "scopes": ["list:groups"], "groups": ["staff"]})

    assert Role.objects.get(name="tutor").scopes == ["list:groups"]
    # Without a list of users they stay.
    assert holders("tutor") == {"ada"}
    assert holders("tutor", "groups") == {"staff"}
    load({"name": "tutor", "users": []})
    assert holders("tutor") == holders("tutor", "groups") == set()
    assert Role.objects.get(name="tutor").scopes == []


def test_a_role_that_was_loaded_stays_without_a_holder() -> None:
    load({"name": "tutor", "scopes": ["list:users"]})
    sign_in("ada", "tutor")

    sign_in("ada")

    assert Role.objects.filter(name="tutor").exists()


def test_without_a_reset_earlier_roles_stay() -> None:
    sign_in("ada", "from-answer")

    load({"name": "tutor", "scopes": ["list:users"]})

    assert holders("from-answer") == {"ada"}


def test_a_reset_removes_what_the_class_does_not_load() -> None:
    sign_in("ada", "from-answer", "tutor", "user")
    make_role("by-config", "list:users", users=[User.objects.get(name="ada")])
    sign_in("alan", "by-config")

    load({"name": "tutor", "scopes": ["list:users"]}, reset=True)

    assert not Role.objects.filter(name="from-answer").exists()
    assert holders("tutor") == {"ada"}
    # The role user came by the answer, and the class does not load it.
    assert "ada" not in holders("user")
    # Assignments by hand are nobody's but the configuration's.
    assert holders("by-config") == {"ada"}


def test_the_flag_follows_a_reset_of_the_role_admin() -> None:
    sign_in("ada")
    apply_answer(Answer.read({"name": "ada", "roles": [{"name": "admin"}]}), by=BY)
    assert User.objects.get(name="ada").admin

    load(reset=True)

    assert not User.objects.get(name="ada").admin


def test_default_roles_keep_what_is_not_said() -> None:
    scopes = Role.objects.get(name="user").scopes
    ada = make_user("ada")

    load({"name": "user"})

    assert Role.objects.get(name="user").scopes == scopes
    assert holders("user") == {ada.name}


def test_a_start_with_the_configuration_leaves_managed_roles(settings: Any) -> None:
    sign_in("ada", "from-answer")

    reconcile(settings.HUB)

    assert holders("from-answer") == {"ada"}


@pytest.mark.parametrize(
    "roles",
    [
        [{"name": "tutor"}, {"name": "tutor"}],
        [{"name": "tutor", "scopes": ["nothing"]}],
        [{"scopes": []}],
        ["tutor"],
    ],
)
def test_wrong_roles_change_nothing(roles: list[Any]) -> None:
    before = set(Role.objects.values_list("name", flat=True))

    with pytest.raises(Refusal):
        load(*roles)

    assert set(Role.objects.values_list("name", flat=True)) == before
