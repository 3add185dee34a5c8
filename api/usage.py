"""Notes for each request with a token which operation it is, and which scopes it uses.

The work is done once for each token and operation, and kept with the verified token.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from django.conf import settings

from scopes.access import Access
from tokens.usage import Use, collector

PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Characters of an agent that are stored with a use.
LONGEST_AGENT: Final = 400

# The endpoint, the operation if there is one, and the scopes that are used.
Noted = tuple[str, str, tuple[str, ...]]


def note_use(request: Any, scopes: Mapping[str, Any], *, is_allowed: bool) -> None:
    """Note a request with a token; a refused one uses no scope."""
    bearer, match = request.auth, request._request.resolver_match
    method = "GET" if request.method == "HEAD" else request.method
    if match is None or method not in METHODS:
        return
    key = (method, match.route)
    noted: Noted | None = bearer.memo.get(key)
    if noted is None:
        endpoint, needed = operation_of(method, match.route), scopes.get(method)
        noted = bearer.memo[key] = (
            endpoint,
            "" if needed is None else endpoint,
            scopes_used(bearer.access, method, needed),
        )
    meta = request.META
    collector.note(
        Use(
            bearer.token_id,
            time.time(),
            meta.get("REMOTE_ADDR", ""),
            meta.get("HTTP_USER_AGENT", "")[:LONGEST_AGENT],
            noted[0],
            noted[1] if is_allowed else "",
            noted[2],
        )
    )


@lru_cache(maxsize=1024)
def operation_of(method: str, route: str) -> str:
    """Return an operation as the catalogue has it, as in `GET /users/{name}`."""
    base = unquote(settings.HUB.base_url).lstrip("/")
    path = route.removeprefix(f"{base}hub").removeprefix("/api")
    found = PARAMETER.sub(r"{\1}", path)
    return f"{method} {found or '/'}"


def scopes_used(access: Access, method: str, needed: Any) -> tuple[str, ...]:
    """Return those of the needed scopes that a token has.

    What a GET returns may depend on each of them. For a change the first is enough.
    """
    if needed is None or isinstance(needed, type):
        return ()
    asked = (needed,) if isinstance(needed, str) else needed
    held = tuple(scope for scope in asked if access.reach(scope) != {})
    return held if method == "GET" else held[:1]
