"""Authentication once more, before an action that is worth it.

A person who signed in a while ago confirms with the second factor or, where none is set
up, the password. Someone who has neither on this hub is not asked.
"""

from __future__ import annotations

import time
from urllib.parse import urlencode

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.http import HttpRequest

# The key of the time at which the user of a session was last authenticated.
PROVEN_AT = "proven_at"
# The beginning of the ids of allauth's ways with a second factor.
FACTORS = "mfa_reauthenticate"


def proof_page(request: HttpRequest, *, next_page: str) -> str | None:
    """Return the page on which the signed-in user must authenticate again.

    None if that was done a short time ago, or can't be done. Afterwards the page leads
    to `next_page`, a path. Who has a second factor needs it: a password alone, however
    recent, may be somebody else's knowledge.
    """
    adapter = get_adapter(request)
    methods = adapter.get_reauthentication_methods(request.user)
    factors = [each for each in methods if each["id"].startswith(FACTORS)]
    if factors:
        is_proven = _used_factor(request)
    else:
        is_proven = not adapter.is_reauthentication_required(app="tokens")
    if not methods or is_proven:
        return None
    address: str = (factors or methods)[0]["url"]
    return f"{address}?{urlencode({'next': next_page})}"


def note_proof(request: HttpRequest) -> None:
    """Store that the user of this session was authenticated just now."""
    request.session[PROVEN_AT] = time.time()


def _used_factor(request: HttpRequest) -> bool:
    """Return whether the user gave a second factor a short time ago."""
    since = time.time() - app_settings.REAUTHENTICATION_TIMEOUT
    return any(
        record.get("method") == "mfa" and record.get("at", 0) > since
        for record in get_authentication_records(request, request.user)
    )
