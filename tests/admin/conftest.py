"""Addresses of the admin, and what its pages say."""

from __future__ import annotations

import re
from html import unescape
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
