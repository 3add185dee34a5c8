"""The parser of request bodies: JSON of limited size and depth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework import parsers

from api.bodies import USUAL_VALUES
from scopes.refusals import Invalid, Refusal
from web.bodies import too_large

# Databases and Python's own JSON fail at some greater depth; nobody needs as much.
DEEPEST = 100

# Bytes of a body that are counted at a time.
PIECE = 64 * 1024

NO_JSON = "Invalid JSON in body of request"

_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class TooLarge(Refusal):
    """The body is longer than the limit of its address."""

    status = 413


class JSONParser(parsers.JSONParser):
    """Parses a body as JSON, whatever its content type."""

    media_type = "*/*"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value of the body, within the limit of the view."""
        body: bytes = stream.read()
        context = parser_context or {}
        # `web.bodies` has the same limit; other servers call Django without it.
        most = USUAL_VALUES
        if "view" in context:
            view, method = context["view"], context["request"].method
            largest, most = view.largest_body(method), view.most_values(method)
            if len(body) > largest:
                raise TooLarge(too_large(largest).message)
        nested = _count_nested(body, most)
        try:
            data = orjson.loads(body.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            raise Invalid(NO_JSON) from None
        # The pattern is slower than all the rest, so it is used only if it may match.
        if b"\\u0000" in body and _ESCAPED_NUL.search(body):
            raise Invalid("The body holds a NUL character, which can't be stored")
        if nested > DEEPEST and _is_deep(data):
            raise Invalid(f"The body is nested more than {DEEPEST} levels deep")
        return data


def _count_nested(body: bytes, most: int) -> int:
    """Return the number of lists and objects; refuse a body with too many values.

    The body is counted in pieces, because no other thread runs while one is counted,
    and a body with far too many values is not read to its end.
    """
    nested = separators = 0
    for start in range(0, len(body), PIECE):
        end = start + PIECE
        nested += body.count(b"[", start, end) + body.count(b"{", start, end)
        separators += body.count(b",", start, end)
        if nested + separators > most:
            raise Invalid(f"The body has too many values, more than {most}")
    return nested


def _is_deep(data: Any) -> bool:
    """Return whether lists and objects are nested more deeply than can be stored."""
    level = [data]
    for _ in range(DEEPEST):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
