"""Helpers for tests of the admin: addresses, forms and texts of its pages."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.urls import reverse


class Pages:
    """Addresses by the name of a page and of its object."""

    def list(self, model: str, query: str = "") -> str:
        return reverse(f"admin:{model}_changelist") + query

    def add(self, model: str) -> str:
        return reverse(f"admin:{model}_add")

    def of(self, obj: Any, page: str = "change") -> str:
        name = f"{obj._meta.app_label}_{obj._meta.model_name}_{page}"
        return reverse(f"admin:{name}", args=[obj.pk])


@pytest.fixture
def pages() -> Pages:
    return Pages()


def rows(reply: Any) -> list[str]:
    """Read the first column of a list: what each row is called."""
    cells = re.findall(
        r'<th class="field-[^"]*"><a [^>]*>(.*?)</a></th>', reply.content.decode()
    )
    return [unescape(re.sub("<[^>]+>", "", cell)) for cell in cells]


def text(reply: Any) -> str:
    """Read what a page says, without its markup."""
    body = reply.content.decode()
    return " ".join(unescape(re.sub("<[^>]+>", " ", body)).split())


class _Fields(HTMLParser):
    """Collects what a browser would send of a page's forms."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.writing = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, kind = given.get("name") or "", given.get("type")
        if tag == "textarea":
            self.writing = name
            self.found[name] = ""
        elif tag == "input" and name and kind != "submit":
            empty = ""
            if kind in ("checkbox", "radio"):
                if "checked" not in given:
                    return
                empty = "on"
            self.found[name] = given.get("value") or empty

    def handle_data(self, data: str) -> None:
        if self.writing:
            self.found[self.writing] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            # A browser leaves out the newline that follows the tag.
            self.found[self.writing] = self.found[self.writing].removeprefix("\n")
            self.writing = ""


def form_in(reply: Any) -> dict[str, str]:
    """Read the form of a page as a browser would send it untouched."""
    body = reply.content.decode()
    start = re.search(r'<form method="post" id="\w+_form"', body)
    assert start, "There is no form."
    reader = _Fields()
    reader.feed(body[start.start() : body.index("</form>", start.start())])
    return reader.found
