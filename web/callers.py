"""Who makes a request: a program, or a browser, whose requests may be forged.

A foreign page can make a browser send requests in the name of the person who is signed
in there. So these are examined; calls of programs need not be, and cost less.
"""

from __future__ import annotations

import enum

from django.conf import settings
from django.http import HttpRequest


class Caller(enum.Enum):
    """Who makes a request, as far as its headers tell."""

    PROGRAM = "program"
    BROWSER = "browser"
    # A browser that names the page which caused the request. It may do so without a
    # session, and must not learn from the answer whether there is one.
    PAGE = "page"


def find_caller(request: HttpRequest) -> Caller:
    """Tell a program's request from a browser's; this is decided nowhere else."""
    meta = request.META
    if "HTTP_ORIGIN" in meta:
        return Caller.PAGE
    if settings.SESSION_COOKIE_NAME in meta.get("HTTP_COOKIE", ""):
        return Caller.BROWSER
    return Caller.PROGRAM
