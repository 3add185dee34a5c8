"""The renderer of responses: JSON in ASCII is the only representation."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

import orjson
from django.http import HttpResponse
from rest_framework.renderers import BaseRenderer


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape characters beyond ASCII as JSON does; a codec error handler."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = (f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return "".join(escaped), error.end


codecs.register_error("json", _escape)


class JSONRenderer(BaseRenderer):
    """Renders responses with orjson; times in UTC end in `Z`."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return `data` as JSON; an empty body if there is no data."""
        if data is None:
            return b""
        body = orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
        if body.isascii():
            return body
        return body.decode().encode("ascii", "json")


def json_response(text: str, status: int = 200) -> HttpResponse:
    """Return a response with JSON text, for example text that the database made.

    The text does not pass through the renderer, which would take 10 % of the call.
    """
    return HttpResponse(
        text.encode("ascii", "json"),
        status=status,
        content_type=JSONRenderer.media_type,
    )
