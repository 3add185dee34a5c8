"""Libraries and commands that save a user must not overwrite others' changes."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth.hashers import make_password
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.actions import set_email, update_user
from accounts.models import User
from tests.factories import BY, PASSWORD, make_default_roles, make_token, make_user
from tokens.models import APIToken

NEW = "tricky otter sings 42"

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    make_default_roles()
    return User.objects.get(pk=make_user("ada", admin=True, password="x").pk)


def withdraw(ada: User) -> None:
    """Change much of a user whom somebody else has read before."""
    stored = User.objects.get(pk=ada.pk)
    update_user(stored, admin=False, name="ada2", by=BY)
    set_email(stored, "ada@example.org", by=BY)
    User.objects.filter(pk=ada.pk).update(is_active=False, password="!")


def is_as_withdrawn(ada: User) -> bool:
    row = User.objects.values_list("name", "admin", "is_active", "email").get(pk=ada.pk)
    return row == ("ada2", False, False, "ada@example.org")


def test_a_save_writes_what_was_changed_and_nothing_else(ada: User) -> None:
    withdraw(ada)
    ada.user_info = {"a": [1]}
    ada.save()

    assert is_as_withdrawn(ada)
    assert User.objects.get(pk=ada.pk).user_info == {"a": [1]}

    ada.user_info["a"].append(2)
    with CaptureQueriesContext(connection) as queries:
        ada.save()
        ada.save()
    assert [query["sql"].partition(" ")[0] for query in queries] == ["UPDATE"]
    assert User.objects.get(pk=ada.pk).user_info == {"a": [1, 2]}


def test_what_was_not_read_is_not_written(ada: User) -> None:
    part = User.objects.only("email").get(pk=ada.pk)
    part.email = "new@example.org"
    part.save()

    assert User.objects.get(pk=ada.pk).email == "new@example.org"
    assert User.objects.get(pk=ada.pk).admin


def test_connecting_another_site_brings_no_right_back(ada: User) -> None:
    account = SocialAccount(provider="site", uid="1")
    login = SocialLogin(user=ada, account=account)
    withdraw(ada)
    login.save(RequestFactory().get("/"), connect=True)

    assert is_as_withdrawn(ada)
    assert SocialAccount.objects.get().user_id == ada.pk


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Type passwords into the terminal, and let something happen meanwhile."""
    meanwhile: list[Any] = []

    def ask(prompt: str = "") -> str:
        for act in meanwhile:
            act()
        meanwhile.clear()
        return NEW

    monkeypatch.setattr("getpass.getpass", ask)
    return meanwhile


def test_a_password_from_the_command_line_ends_sessions(ada: User, typed: Any) -> None:
    User.objects.filter(pk=ada.pk).update(password=make_password(PASSWORD))
    browser = Client()
    signed_in = browser.post("/hub/login", {"username": "ada", "password": PASSWORD})
    assert signed_in.status_code == 302
    assert browser.get("/hub/profile").status_code == 200
    session_id = browser.session["session_id"]
    obtained, _ = make_token(ada, session_id=session_id)
    plain, _ = make_token(ada)
    other, _ = make_token(make_user("alan"), session_id="other")

    call_command("changepassword", "Ada")

    assert User.objects.get(pk=ada.pk).check_password(NEW)
    assert browser.get("/hub/profile").status_code == 302
    in_force = set(
        APIToken.objects.filter(revoked_at=None).values_list("pk", flat=True)
    )
    assert obtained.pk not in in_force
    assert {plain.pk, other.pk} <= in_force


def test_a_password_from_the_command_line_brings_no_right_back(
    ada: User, typed: Any
) -> None:
    typed.append(lambda: update_user(User.objects.get(pk=ada.pk), admin=False, by=BY))

    call_command("changepassword", "ada")

    assert not User.objects.get(pk=ada.pk).admin


def test_there_must_be_somebody_with_the_name(typed: Any) -> None:
    with pytest.raises(CommandError, match="No such user: nobody"):
        call_command("changepassword", "nobody")
