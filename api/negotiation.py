"""Content negotiation: requests and responses are always JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer


class OnlyJSON(BaseContentNegotiation):
    """Selects the first parser and renderer, whatever types the request states.

    Clients of JupyterHub send JSON under any content type, and accept anything.
    """

    def select_parser(self, request: Any, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Any,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)
