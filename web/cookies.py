"""Cookies of a request, with every value where several have one name.

A browser sends all cookies of a name that fit the address: ours, and those that another
program on the same host name has set for a wider path or another port. Django keeps
the last one only, which may be the foreign one.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.cookie import parse_cookie


def values_of(request: HttpRequest, name: str) -> list[str]:
    """Return every value that a request's cookies give for `name`, in their order."""
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
