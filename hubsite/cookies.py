"""The choice among several session cookies of one request.

Another Jupyter on the same host name sets cookies of the same names, and a page of a
user's server can do so on purpose. This middleware finds the hub's own cookie by its
value, so other middleware sees that one only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from api.authorizations import user_of_session
from web.cookies import values_of

# The format of session keys; other values cause no query.
SESSION_KEY: Final = re.compile(r"[0-9a-z]{8,40}")
# Most sessions that are read for one request. A page that sets more cookies with valid
# sessions has to sign in once for each of them.
MOST_SESSIONS: Final = 20


class SessionCookieMiddleware:
    """Passes only the hub's own session cookie to other middleware.

    Cookies without a session of the hub are ignored but not deleted, because the
    program that set them may need them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = settings.SESSION_COOKIE_NAME
        if name in request.COOKIES:
            key = chosen_session(values_of(request, name))
            if key:
                request.COOKIES[name] = key
            else:
                del request.COOKIES[name]
        return self.get_response(request)


def chosen_session(values: list[str]) -> str:
    """Return the first key whose session has a signed-in user.

    If there is none, return the first key with a session. A single key is returned
    without a query. Browsers send the cookie with the longest path first, and the hub's
    cookie has the hub's path.
    """
    keys = [value for value in values if SESSION_KEY.fullmatch(value)]
    if len(keys) < 2:
        return keys[0] if keys else ""
    stored = set(
        Session.objects.filter(
            session_key__in=keys, expire_date__gt=timezone.now()
        ).values_list("session_key", flat=True)
    )
    alive = [key for key in keys if key in stored][:MOST_SESSIONS]
    signed_in = (key for key in alive if user_of_session(key) is not None)
    return next(signed_in, alive[0] if alive else "")
