"""Addresses: the mark of an encoded slash, and the view of a path."""

from __future__ import annotations

from functools import lru_cache

from django.urls import ResolverMatch, resolve

# Stands in a path for an encoded slash, which is a part of the name that it is found
# in and separates nothing. No name contains this code point, for it is no character.
ENCODED_SLASH = "\uffff"

# Longer paths are resolved each time, so that made-up ones fill no memory.
REMEMBERED_PATH = 200
# So are paths that contain a secret.
LOOKUPS = "/authorizations/"


def find_view(path: str) -> ResolverMatch:
    """Return the view of a path; raise `Resolver404` where there is none."""
    if len(path) > REMEMBERED_PATH or LOOKUPS in path:
        return resolve(path)
    return remembered_view(path)


@lru_cache(maxsize=4096)
def remembered_view(path: str) -> ResolverMatch:
    """Resolve a path once; that takes as long as reading a token's row."""
    return resolve(path)
