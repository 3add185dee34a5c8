"""The parser of request bodies: JSON of limited size and depth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from rest_framework import parsers

from scopes.refusals import Invalid

# Databases and Python's own JSON fail at some greater depth; nobody needs as much.
DEEPEST = 100

NO_JSON = "Invalid JSON in body of request"

_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class JSONParser(parsers.JSONParser):
    """Parses a body as JSON, whatever its content type."""

    media_type = "*/*"
    # The longest body that is parsed; None means the hub's general limit.
    max_size: ClassVar[int | None] = None

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value of the body."""
        body: bytes = stream.read()
        if self.max_size is not None and len(body) > self.max_size:
            # Parsing would block all other threads for a while.
            raise Invalid(
                f"The body is larger than the {self.max_size} bytes that are read "
                "at this address; send it in parts"
            )
        try:
            data = orjson.loads(body.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            raise Invalid(NO_JSON) from None
        # The pattern is slower than all the rest, so it is used only if it may match.
        if b"\\u0000" in body and _ESCAPED_NUL.search(body):
            raise Invalid("The body holds a NUL character, which can't be stored")
        if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deep(data):
            raise Invalid(f"The body is nested more than {DEEPEST} levels deep")
        return data


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
