"""Responses of the API and pages while the database can't be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client

from accounts.models import User
from tests.factories import make_token

JSON = {"content_type": "application/json"}


@contextmanager
def failing(error: Exception, *beginnings: str) -> Iterator[None]:
    """Have statements that begin so fail."""

    def fail(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
        if sql.startswith(beginnings):
            raise error
        return execute(sql, *more)

    with connection.execute_wrapper(fail):
        yield


LOCKED = OperationalError("database is locked")
GONE = InterfaceError("the connection is closed")


@pytest.mark.parametrize("error", [LOCKED, GONE], ids=["locked", "gone"])
def test_programs_get_the_time_of_the_next_try(ada: User, error: Exception) -> None:
    headers = {"authorization": f"token {make_token(ada)[1]}"}

    with failing(error, "INSERT", "UPDATE", "DELETE"):
        call = Client(headers=headers)
        answers = [
            call.post("/hub/api/users/new", {}, **JSON),
            call.patch("/hub/api/users/ada", {"name": "x"}, **JSON),
            call.post("/hub/api/users/ada/tokens", {}, **JSON),
        ]

    for answer in answers:
        assert answer.status_code == 503
        assert answer["Retry-After"].isdigit()
        assert answer.json() == {
            "status": 503,
            "message": "The database is busy; try again in a moment.",
        }


@pytest.mark.parametrize(
    "path, data",
    [
        ("/hub/token/a{token}/revoke", {}),
        ("/hub/admin/accounts/user/add/", {"name": "new", "groups": ""}),
        ("/hub/admin/accounts/group/add/", {"name": "g", "properties": "{}"}),
    ],
)
@pytest.mark.parametrize("error", [LOCKED, GONE], ids=["locked", "gone"])
def test_people_get_a_page(
    ada: User, as_: Any, path: str, data: dict[str, str], error: Exception
) -> None:
    browser = as_(ada)
    path = path.format(token=make_token(ada)[0].pk)

    with failing(error, "INSERT", "UPDATE", "DELETE"):
        answer = browser.post(path, data)

    assert answer.status_code == 503, path
    assert answer["Retry-After"].isdigit()
    text = answer.content.decode()
    assert "The hub is busy" in text and "try again in a moment" in text


@pytest.mark.parametrize("path", ["/hub/home", "/hub/admin/", "/hub/api/user"])
def test_where_nothing_can_be_read_there_is_a_page_nevertheless(
    ada: User, path: str
) -> None:
    """Who is signed in can't be told either, by middleware or on the page."""
    browser = Client(raise_request_exception=False)
    browser.force_login(ada)

    with failing(LOCKED, "SELECT"):
        answer = browser.get(path)

    assert answer.status_code == 503
    assert answer["Retry-After"].isdigit()


def test_pages_of_failures_have_the_name_and_the_links_of_the_site(
    ada: User, settings: Any
) -> None:
    settings.SITE_NAME, settings.HELP_URL = "Hubble", "https://help.example.org"
    browser = Client(raise_request_exception=False)
    browser.force_login(ada)

    with failing(LOCKED, "SELECT"):
        text = browser.get("/hub/home").content.decode()

    assert "Hubble" in text and 'href="https://help.example.org"' in text
