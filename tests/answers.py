"""Replacements for the controller's responses to pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servers.controller_calls import NoAnswer
from servers.models import Server


class Answers:
    """Answers what pages ask the controller, as one whose Spawner has this form."""

    @classmethod
    def in_place_of_the_controller(cls, monkeypatch: pytest.MonkeyPatch) -> Answers:
        """Answer all pages from now on, and let none wait for a server to start."""
        answers = cls()
        for module in ("servers.views.start", "hubsite.pages.home"):
            monkeypatch.setattr(f"{module}.ask_async", answers)
        for module in ("start", "stop"):
            monkeypatch.setattr(f"servers.views.{module}.SETTLE_SECONDS", 0)
        return answers

    def __init__(self) -> None:
        self.form = ""
        self.error = ""
        self.form_error = ""
        self.is_silent = False
        self.dead: set[int] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, kind: str, seconds: float, **payload: Any) -> Any:
        self.asked.append((kind, payload))
        if self.is_silent:
            raise NoAnswer(kind)
        if kind == "poll":
            return {"alive": await asyncio.to_thread(self.poll, **payload)}
        if kind == "options_form" and self.form_error:
            return {"error": self.form_error, "status": 500}
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
