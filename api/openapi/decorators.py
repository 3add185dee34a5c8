"""`extend_schema` of drf-spectacular, applied at the first request for the description.

drf-spectacular's own decorator imports its generator at once, with Django's test client
and Jinja: 5.7 MB of each web process and 0.1 s of a start. Most processes never need
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def extend_schema(**options: Any) -> Callable[[F], F]:
    """Describe a method of a view; `options` are those of drf-spectacular's."""

    def decorate(handler: F) -> F:
        handler.schema_options = options  # type: ignore[attr-defined]
        return handler

    return decorate


def apply_descriptions(handlers: Iterable[Any]) -> None:
    """Apply drf-spectacular's decorator to handlers, once to each."""
    from drf_spectacular import utils

    for handler in handlers:
        options = vars(handler).get("schema_options")
        if options and not vars(handler).get("is_described"):
            utils.extend_schema(**options)(handler)
            handler.is_described = True


def summary_of(handler: Any) -> str:
    """Return the summary that `extend_schema` gave a handler, or an empty text."""
    summary: str = vars(handler).get("schema_options", {}).get("summary", "")
    return summary
