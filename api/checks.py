"""A system check that each view of the API declares its scopes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.urls import URLPattern, URLResolver, get_resolver

from api.base import METHODS, HubAPIView, UnknownView


def views_below(patterns: list[URLPattern | URLResolver]) -> Iterator[Any]:
    """Yield the view classes of a list of URL patterns."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views_below(pattern.url_patterns)
        else:
            view = getattr(pattern.callback, "view_class", None)
            yield view or getattr(pattern.callback, "cls", None)


def undeclared(view: type[HubAPIView]) -> list[str]:
    """Return the methods of a view that have no declaration."""
    verbs = (verb for verb in METHODS if hasattr(view, verb))
    return [verb.upper() for verb in verbs if verb.upper() not in view.scopes]


def check_views_state_scopes(**kwargs: Any) -> list[CheckMessage]:
    """Report each method of the API without a declaration, which nobody may use."""
    return [
        Error(
            f"{view.__name__} states no scopes for {', '.join(missing)}.",
            hint="Add them to `scopes`, or `AllowAny` or `IsAuthenticated`.",
            obj=view,
            id="api.E001",
        )
        for view in views_below(get_resolver().url_patterns)
        if isinstance(view, type)
        and issubclass(view, HubAPIView)
        and not issubclass(view, UnknownView)
        and (missing := undeclared(view))
    ]
