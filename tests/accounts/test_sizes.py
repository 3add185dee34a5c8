"""The most names in one call, and their events in the audit log."""

from __future__ import annotations

import pytest

from accounts import actions, group_actions
from accounts.models import Group, User
from audit.models import Event
from scopes.refusals import Invalid
from tests.factories import BY, make_group, make_users

pytestmark = pytest.mark.django_db


def names(number: int) -> list[str]:
    return [f"name-{n}" for n in range(number)]


def test_one_call_creates_a_limited_number_of_users() -> None:
    with pytest.raises(Invalid, match="10001 users are too many for one call"):
        actions.create_users(names(10_001), by=BY)

    assert not User.objects.exists()


def test_one_call_creates_a_limited_number_of_groups() -> None:
    with pytest.raises(Invalid, match="10001 groups are too many"):
        group_actions.create_groups(names(10_001), by=BY)

    assert not Group.objects.exists()


def test_one_call_makes_a_limited_number_of_memberships() -> None:
    make_users(60)
    users = [f"student{n:05}" for n in range(60)]
    with pytest.raises(Invalid, match="at most 50000 memberships"):
        group_actions.create_groups(names(1_000), users=users, by=BY)

    assert not Group.objects.exists()


@pytest.mark.parametrize(
    "act", [group_actions.add_members, group_actions.remove_members]
)
def test_one_call_names_a_limited_number_of_members(act: object) -> None:
    group = make_group("math")
    with pytest.raises(Invalid, match="10001 users are too many"):
        act(group, names(10_001), by=BY)  # type: ignore[operator]


def test_many_users_are_recorded_in_several_rows() -> None:
    actions.create_users(names(1_200), by=BY)

    rows = [event.detail["names"] for event in Event.objects.order_by("pk")]
    assert [len(row) for row in rows] == [1_000, 200]
    assert sorted(name for row in rows for name in row) == sorted(names(1_200))
