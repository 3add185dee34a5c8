"""Pages that open after a sign-in."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest

from accounts.callbacks import CallbackRequest
from accounts.models import User
from web.hooks import Hook

# Return the path of the page of something that runs for a user, or "".
landing_pages = Hook[[User], str]()


def default_target(user: User | None = None) -> str:
    """Return the page for a user who has requested no particular page."""
    hub = settings.HUB
    wanted = hub.default_url
    if callable(wanted):
        wanted = wanted(CallbackRequest.of(user))
    if wanted:
        return str(wanted)
    if not hub.redirect_to_server:
        return f"{hub.base_url}hub/home"
    found = [] if user is None else landing_pages(user)
    return next(filter(None, found), "") or f"{hub.base_url}hub/spawn"


def carried_parameters(request: HttpRequest, *but: str) -> list[tuple[str, str]]:
    """Return the parameters of a request's address that a redirect keeps."""
    return [
        (key, value)
        for key, values in request.GET.lists()
        if key not in but
        for value in values
        if value
    ]


def with_parameters(request: HttpRequest, target: str) -> str:
    """Add the request's own parameters to the default address of a redirect."""
    carried = carried_parameters(request, "next", "_xsrf")
    return f"{target}?{urlencode(carried)}" if carried else target
