"""Addresses: the mark of an encoded slash, and the view of a path."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

from django.conf import settings
from django.http import HttpRequest
from django.urls import ResolverMatch, resolve

# Stands in a path for an encoded slash, which is a part of the name that it is found
# in and separates nothing. No name contains this code point, for it is no character.
ENCODED_SLASH = "\uffff"

# Longer paths are resolved each time, so that made-up ones fill no memory.
REMEMBERED_PATH = 200
# So are paths that contain a secret.
LOOKUPS = "/authorizations/"


# What stands in a path as it is, beside letters, digits, `_`, `.`, `-` and `~`.
PATH_SAFE = "/@~:+"


def spelt_path(request: HttpRequest) -> str:
    """Return the path of a request as the client has spelt it.

    A redirect that passes a path on uses this, because a path that was decoded does
    not say any more which of its slashes and percent signs were encoded.
    """
    spelt: str = request.META.get("RAW_URI", "").partition("?")[0]
    return spelt or quote(request.path, safe=PATH_SAFE)


def spelt_address(request: HttpRequest) -> str:
    """Return the path and the query of a request as the client has spelt them."""
    query = request.META.get("QUERY_STRING")
    return f"{spelt_path(request)}?{query}" if query else spelt_path(request)


def decoded_once(path: str) -> str:
    """Decode a path once, and spell the result so that it can stand in an address.

    An encoded slash becomes a slash; one that was encoded twice is encoded once.
    """
    quoted = quote(unquote(path), safe=f"{PATH_SAFE}%")
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quoted)


def is_api_path(path: str) -> bool:
    """Tell the addresses of the API, which answer in JSON, from those of pages.

    The explanation of the API is pages, and so is what asks for consent.
    """
    root = f"{settings.HUB_PATH}api"
    if not path.startswith(root):
        return False
    pages = (f"{root}/docs/", f"{root}/oauth2/authorize")
    return path == root or (path[len(root)] == "/" and not path.startswith(pages))


def find_view(path: str) -> ResolverMatch:
    """Return the view of a path; raise `Resolver404` where there is none."""
    if len(path) > REMEMBERED_PATH or LOOKUPS in path:
        return resolve(path)
    return remembered_view(path)


@lru_cache(maxsize=4096)
def remembered_view(path: str) -> ResolverMatch:
    """Resolve a path once; that takes as long as reading a token's row."""
    return resolve(path)
