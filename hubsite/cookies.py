"""The choice among several session cookies of one request.

Another Jupyter on the same host name sets cookies of the same names, and a page of a
user's server can do so on purpose. The one that the hub has set is found by what it
says; no other middleware needs to look for it.
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

# What can be the key of a session, for the database to be asked about.
SESSION_KEY: Final = re.compile(r"[0-9a-z]{8,40}")
# Sessions whose person is looked for, at most. A page that plants cookies has to sign
# in once for each of them.
MOST_SESSIONS: Final = 20


class SessionCookieMiddleware:
    """Leaves that session cookie to other middleware which is the hub's own.

    A cookie that is no session of the hub is ignored, and stays where it is: its owner
    may need it.
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
    """Return the first key whose session has somebody signed in.

    Without one, return the first that there is a session for; of a single key nobody is
    asked. Browsers send the cookie with the longest path first, and ours has the path
    of the hub.
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
