"""A report of activity that is too large is refused before it is parsed."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import pytest
from django.test import RequestFactory

from api.activity import LARGEST_REPORT, MOST_REPORTED, ActivityView, read_report
from api.parsers import TooLarge
from scopes.refusals import Invalid


def test_a_large_body_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"{" + b" " * LARGEST_REPORT + b"}"
    (parser,) = ActivityView().get_parsers()
    monkeypatch.setattr("api.parsers.orjson.loads", lambda text: pytest.fail("parsed"))
    context = {"view": ActivityView(), "request": RequestFactory().post("/")}
    with pytest.raises(TooLarge, match="larger than"):
        parser.parse(BytesIO(body), parser_context=context)


def test_servers_are_counted_before_they_are_looked_at() -> None:
    servers = {f"s{number}": None for number in range(MOST_REPORTED + 1)}
    with pytest.raises(Invalid, match="too many for one report"):
        read_report({"servers": servers}, datetime.now(UTC))
