"""The report of a start, as pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from servers.models import Server
from web.markup import html_or_text


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a start: lines, oldest first, and why the start failed."""

    lines: list[SafeString]
    progress: object
    failure: SafeString

    @property
    def latest(self) -> SafeString | str:
        return self.lines[-1] if self.lines else ""

    @classmethod
    def of(cls, server: Server) -> Report:
        events: list[dict[str, Any]] = [event.data for event in server.events.all()]
        last = events[-1] if events else {}
        html = last.get("html_message") if last.get("failed") else None
        failure = html_or_text(html, server.failure)
        return cls(
            lines=[line_of(event, failure) for event in events],
            progress=last.get("progress"),
            failure=failure,
        )


def line_of(event: dict[str, Any], failure: SafeString) -> SafeString:
    """Return the line of one event.

    The progress stream may contain text about a failure that is not meant for people.
    """
    if event.get("failed") and failure:
        return format_html("Spawn failed: {}", failure)
    return html_or_text(event.get("html_message"), event.get("message", ""))
