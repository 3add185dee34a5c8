"""Addresses: the mark of an encoded slash, and the view of a path."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

from django.conf import settings
from django.http import HttpRequest
from django.urls import ResolverMatch, resolve

# Replaces an encoded slash in a path, because such a slash is part of a name and no
# separator. No name contains this code point, because it is not a character.
ENCODED_SLASH = "\uffff"

# Longer paths are not cached, so that invented ones fill no memory.
REMEMBERED_PATH = 200
# Paths that contain a secret are not cached, either.
LOOKUPS = "/authorizations/"


# Characters that are not escaped in a path, besides letters, digits, `_`, `.` and `-`.
PATH_SAFE = "/@~:+"


def spelt_path(request: HttpRequest) -> str:
    """Return the path of a request as the client sent it.

    Redirects that contain a path use this function, because in a decoded path encoded
    slashes and percent signs can't be told from others.
    """
    spelt: str = request.META.get("RAW_URI", "").partition("?")[0]
    return spelt or quote(request.path, safe=PATH_SAFE)


def spelt_address(request: HttpRequest) -> str:
    """Return the path and the query of a request as the client sent them."""
    query = request.META.get("QUERY_STRING")
    return f"{spelt_path(request)}?{query}" if query else spelt_path(request)


def decoded_once(path: str) -> str:
    """Decode a path once, and escape the result for use in an address.

    An encoded slash becomes a slash; one that was encoded twice is encoded once.
    """
    quoted = quote(unquote(path), safe=f"{PATH_SAFE}%")
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quoted)


def is_api_path(path: str) -> bool:
    """Return whether a path belongs to the API, with responses in JSON, or to a page.

    The API explorer and OAuth's consent are pages.
    """
    root = f"{settings.HUB_PATH}api"
    if not path.startswith(root):
        return False
    pages = (f"{root}/docs/", f"{root}/oauth2/authorize")
    return path == root or (path[len(root)] == "/" and not path.startswith(pages))


def find_view(path: str) -> ResolverMatch:
    """Return the view of a path; raise `Resolver404` if there is none."""
    if len(path) > REMEMBERED_PATH or LOOKUPS in path:
        return resolve(path)
    return remembered_view(path)


@lru_cache(maxsize=4096)
def remembered_view(path: str) -> ResolverMatch:
    """Return the cached view of a path; resolving takes as long as a token's query."""
    return resolve(path)
