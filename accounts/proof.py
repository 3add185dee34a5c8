"""Authentication once more, before an action that is worth it.

A person who signed in a while ago confirms with the password or, where it is set up,
the second factor. Someone who has neither on this hub is not asked.
"""

from __future__ import annotations

import time
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from django.http import HttpRequest

# The key of the time at which the user of a session was last authenticated.
PROVEN_AT = "proven_at"


def proof_page(request: HttpRequest, *, next_page: str) -> str | None:
    """Return the page on which the signed-in user must authenticate again.

    None if that was done a short time ago, or can't be done. Afterwards the page leads
    to `next_page`, a path.
    """
    adapter = get_adapter(request)
    methods = adapter.get_reauthentication_methods(request.user)
    if not methods or not adapter.is_reauthentication_required(app="tokens"):
        return None
    address: str = methods[0]["url"]
    return f"{address}?{urlencode({'next': next_page})}"


def note_proof(request: HttpRequest) -> None:
    """Store that the user of this session was authenticated just now."""
    request.session[PROVEN_AT] = time.time()
