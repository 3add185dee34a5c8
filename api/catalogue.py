"""The operations of the API, as the pages about tokens show them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from django.urls import URLPattern

from api.base import HubAPIView, UnknownView
from api.openapi.decorators import summary_of
from api.permissions import AllowAny
from scopes.access import Target
from tokens.operations import Operation

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
# Stands for a name in an address.
_ANY = "name"


@cache
def operations() -> Sequence[Operation]:
    """Return all operations that need a token, in the order of the addresses."""
    return tuple(_operations())


def _operations() -> Iterator[Operation]:
    from api import urls

    for pattern in urls.urlpatterns:
        view_class = getattr(pattern.callback, "view_class", None)
        if view_class is None or issubclass(view_class, UnknownView):
            continue
        yield from _of_view(pattern, view_class)


def _of_view(pattern: URLPattern, view_class: type[HubAPIView]) -> Iterator[Operation]:
    path = "/" + _PARAMETER.sub(r"{\1}", str(pattern.pattern))
    for method, needed in view_class.scopes.items():
        summary = summary_of(getattr(view_class, method.lower()))
        if needed is AllowAny or not summary:
            continue
        scopes: tuple[str, ...] = ()
        if isinstance(needed, str):
            scopes = (needed,)
        elif isinstance(needed, tuple):
            scopes = needed
        yield Operation(
            method=method,
            path=path,
            summary=summary,
            subject=path.split("/")[1],
            scopes=scopes,
            kinds=_kinds(pattern, view_class, method),
        )


def _kinds(
    pattern: URLPattern, view_class: type[HubAPIView], method: str
) -> frozenset[str]:
    """Return the kinds of filters that can permit a method of an address."""
    names = _PARAMETER.findall(str(pattern.pattern))
    model: Any = view_class.object_of
    if method == "GET" and view_class.list_of is not None:
        model = view_class.list_of
    if model is not None:
        return frozenset(model.scope_filters)
    if not names:
        return frozenset()
    view: Any = view_class()
    view.kwargs = dict.fromkeys(names, _ANY)
    target = view.get_permission_object()
    if target is None:
        return frozenset()
    return frozenset(kind for kind in Target.scope_filters if getattr(target, kind))
