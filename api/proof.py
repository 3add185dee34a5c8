"""A recent sign-in, which some calls need from a browser as the pages do."""

from __future__ import annotations

from django.conf import settings

from accounts.proof import proof_page
from api.base import APIRequest
from scopes.refusals import Forbidden


def require_recent_sign_in(request: APIRequest) -> None:
    """Refuse a session whose person signed in a while ago; tokens need no sign-in."""
    if request.auth is not None:
        return
    page = proof_page(request._request, next_page=f"{settings.HUB.base_url}hub/token")
    if page is not None:
        raise Forbidden(f"Confirm at {page} that this is you, then try again.")
