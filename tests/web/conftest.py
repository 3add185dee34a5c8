"""A browser that follows the rules of forms, as real browsers do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.answers import Answers
from tests.factories import PASSWORD

HIDDEN = re.compile(r'name="_xsrf" value="([^"]+)"')


class Browser(Client):
    """Checks forms as real requests are checked, and can fill one in."""

    def __init__(self) -> None:
        super().__init__(enforce_csrf_checks=True)

    def xsrf_of(self, response: HttpResponse) -> str:
        found = HIDDEN.search(response.content.decode())
        assert found, "the page has no form"
        return found.group(1)

    def submit(self, path: str, **fields: Any) -> HttpResponse:
        """Open a page, and send its form back with these fields."""
        page = self.get(path)
        return self.post(path, {"_xsrf": self.xsrf_of(page), **fields})

    def sign_in(self, name: str, password: str = PASSWORD, path: str = "") -> Any:
        path = path or "/hub/login"
        return self.submit(path, username=name, password=password)


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def another_browser() -> Browser:
    return Browser()


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Change what the configuration file says, for one test."""

    def change(**changes: Any) -> None:
        settings.HUB = replace(settings.HUB, **changes)

    return change


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Stand for the other end of `ask_async`; nobody waits for a server to start."""
    return Answers.in_place_of_the_controller(monkeypatch)
