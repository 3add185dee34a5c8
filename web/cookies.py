"""Cookies of a request, with all values of cookies of the same name.

A browser sends all cookies of a name that match the address: the hub's, and those that
another program on the same host name has set for a shorter path or another port.
Django keeps only the last one, which may be the foreign one.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.cookie import parse_cookie


def values_of(request: HttpRequest, name: str) -> list[str]:
    """Return the values of all cookies called `name`, in their order."""
    header = request.META.get("HTTP_COOKIE", "")
    if header.count(name) < 2:
        value = request.COOKIES.get(name)
        return [] if value is None else [value]
    found = (
        value
        for chunk in header.split(";")
        for key, value in parse_cookie(chunk).items()
        if key == name
    )
    return list(dict.fromkeys(found))
