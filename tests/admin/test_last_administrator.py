"""The pages never remove the last administrator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from accounts.administrators import administrators
from accounts.models import Group, Role, User
from tests.factories import make_group, make_role, make_token, make_user

SignIn = Callable[[User | None], Client]
REFUSAL = "the last administrator"


@pytest.fixture
def manager(db: None) -> User:
    """Somebody who may change and delete users and groups, but is no administrator."""
    scopes = "admin-ui admin:users list:users delete:users groups list:groups"
    scopes += " delete:groups read:groups read:users"
    return make_user("manager", scopes=scopes.split())


@pytest.fixture
def leads(manager: User) -> Group:
    """The group by which alone somebody administers."""
    group = make_group("leads", users=[make_user("lead")])
    Role.objects.get(name="admin").groups.add(group)
    return group


def form_of(browser: Client, path: str) -> dict[str, Any]:
    """Return what a browser would send from a form that nobody has filled in."""
    page = browser.get(path)
    form = page.context["adminform"].form
    sent: dict[str, Any] = {}
    for name, field in form.fields.items():
        value = form[name].value()
        if isinstance(value, list):
            value = "\n".join(value)
        if value not in (None, False):
            text = isinstance(value, str) and name == "properties"
            sent[name] = value if text else field.prepare_value(value)
        for shown in form[name].as_hidden(only_initial=True).split("<input")[1:]:
            sent[f"initial-{name}"] = shown.partition('value="')[2].partition('"')[0]
    return sent


def change(browser: Client, path: str, **changes: Any) -> Any:
    data = form_of(browser, path)
    for name, value in changes.items():
        data.pop(name, None)
        if value is not None:
            data[name] = value
    return browser.post(path, data, follow=True)


def test_the_last_one_keeps_the_right(ada: User, as_: SignIn) -> None:
    page = change(as_(ada), f"/hub/admin/accounts/user/{ada.pk}/change/", admin=None)

    assert REFUSAL in page.content.decode()
    ada.refresh_from_db()
    assert ada.admin and ada.roles.filter(name="admin").exists()


def test_another_one_may_give_it_up(ada: User, as_: SignIn) -> None:
    make_user("second", admin=True)

    change(as_(ada), f"/hub/admin/accounts/user/{ada.pk}/change/", admin=None)

    ada.refresh_from_db()
    assert not ada.admin


@pytest.mark.parametrize("other", ["deactivated", "blocked"])
def test_who_may_not_sign_in_does_not_count(
    ada: User, as_: SignIn, other: str, settings: Any
) -> None:
    make_user("second", admin=True, is_active=other != "deactivated")
    if other == "blocked":
        settings.HUB = replace(settings.HUB, blocked_users=frozenset({"second"}))

    page = change(as_(ada), f"/hub/admin/accounts/user/{ada.pk}/change/", admin=None)

    assert REFUSAL in page.content.decode()
    ada.refresh_from_db()
    assert ada.admin


def test_a_group_may_carry_the_role(leads: Group, as_: SignIn) -> None:
    """Ada may resign, as who is in the group administers."""
    ada = make_user("ada", admin=True)

    change(as_(ada), f"/hub/admin/accounts/user/{ada.pk}/change/", admin=None)

    ada.refresh_from_db()
    assert not ada.admin
    assert administrators().get().name == "lead"


@pytest.mark.parametrize(
    "act", ["leave", "remove", "delete group", "delete groups", "delete user", "users"]
)
def test_the_last_one_of_a_group_stays(
    act: str, leads: Group, manager: User, as_: SignIn
) -> None:
    browser = as_(manager)
    lead = User.objects.get(name="lead")
    group_page = f"/hub/admin/accounts/group/{leads.pk}/"
    user_page = f"/hub/admin/accounts/user/{lead.pk}/"
    confirmed = {"confirmed": "1", "select_across": "0"}
    match act:
        case "leave":
            page = change(browser, f"{user_page}change/", groups="")
        case "remove":
            page = change(browser, f"{group_page}change/", remove_members="lead")
        case "delete group":
            page = browser.post(f"{group_page}delete/", {"post": "yes"}, follow=True)
        case "delete user":
            page = browser.post(f"{user_page}delete/", {"post": "yes"}, follow=True)
        case "delete groups":
            data = {"action": "delete_groups", "_selected_action": [leads.pk]}
            page = browser.post(
                "/hub/admin/accounts/group/", data | confirmed, follow=True
            )
        case _:
            data = {"action": "delete_users", "_selected_action": [lead.pk]}
            page = browser.post(
                "/hub/admin/accounts/user/", data | confirmed, follow=True
            )

    assert REFUSAL in page.content.decode()
    assert administrators().get() == lead


def test_the_last_one_is_not_deactivated(
    leads: Group, manager: User, as_: SignIn
) -> None:
    lead = User.objects.get(name="lead")

    page = as_(manager).post(
        f"/hub/admin/accounts/user/{lead.pk}/deactivate/", follow=True
    )

    assert REFUSAL in page.content.decode()
    lead.refresh_from_db()
    assert lead.is_active


def test_a_hub_without_one_may_be_changed(manager: User, as_: SignIn) -> None:
    alan = make_user("alan")

    as_(manager).post(f"/hub/admin/accounts/user/{alan.pk}/delete/", {"post": "yes"})

    assert not User.objects.filter(pk=alan.pk).exists()


def test_on_the_wire_it_is_as_in_jupyterhub(ada: User, bearer: Any) -> None:
    make_role("admin", users=[ada])
    answer = bearer(make_token(ada)[1]).patch(
        "/hub/api/users/ada", {"admin": False}, content_type="application/json"
    )

    assert answer.status_code == 200
    assert not administrators().exists()
