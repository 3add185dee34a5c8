"""A browser that keeps to the rules of forms, as people's browsers do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from servers.inquiries import NoAnswer
from servers.models import Server
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


class Answers:
    """Answers what pages ask the controller, as one whose Spawner has this form."""

    def __init__(self) -> None:
        self.form = ""
        self.error = ""
        self.is_silent = False
        self.dead: set[int] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, kind: str, seconds: float, **payload: Any) -> Any:
        self.asked.append((kind, payload))
        if self.is_silent:
            raise NoAnswer(kind)
        if kind == "poll":
            return {"alive": await asyncio.to_thread(self.poll, **payload)}
        if kind == "options_form":
            return {"form": self.form}
        if self.error:
            return {"error": self.error, "status": 400}
        return {"options": {**payload["fields"], **payload["files"]}}

    def poll(self, server_id: int) -> bool:
        """Settle what has died before saying so, as the controller does."""
        died = server_id in self.dead
        if died:
            Server.objects.filter(pk=server_id).update(ready=False)
        return not died


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Stand for the other end of `ask_async`; nobody waits for a server to start."""
    answers = Answers()
    for module in ("servers.views.start", "hubsite.home"):
        monkeypatch.setattr(f"{module}.ask_async", answers)
    for module in ("start", "stop"):
        monkeypatch.setattr(f"servers.views.{module}.SETTLE_SECONDS", 0)
    return answers
