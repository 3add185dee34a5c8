"""The kind of caller: a program, or a browser, whose requests may be forged.

A foreign page can make a browser send requests with the session of its user. So
requests of browsers are checked; calls of programs need no check and cost less.
"""

from __future__ import annotations

import enum

from django.conf import settings
from django.http import HttpRequest


class Caller(enum.Enum):
    """The kind of caller, according to the headers of a request."""

    PROGRAM = "program"
    BROWSER = "browser"
    # A browser that states the page which caused the request. The request may have no
    # session, and the response must not reveal whether there is one.
    PAGE = "page"


def find_caller(request: HttpRequest) -> Caller:
    """Return whether a program or a browser sent a request; the only such decision."""
    meta = request.META
    if "HTTP_ORIGIN" in meta:
        return Caller.PAGE
    if settings.SESSION_COOKIE_NAME in meta.get("HTTP_COOKIE", ""):
        return Caller.BROWSER
    return Caller.PROGRAM
