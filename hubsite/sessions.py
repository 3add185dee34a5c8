"""Tokens and activity of sessions: tokens of a session are revoked at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.models import User
from accounts.sessions import SESSION_ID, SESSION_ID_COOKIE, set_session_id_cookie
from audit.models import Actor
from tokens import activity
from tokens.actions.revocation import revoke_tokens
from tokens.models import APIToken
from web.cookies import values_of


def revoke_tokens_of_session(user: User, session_id: str, by: Actor) -> None:
    """Revoke all tokens that were obtained in a session of a browser."""
    if session_id:
        tokens = APIToken.objects.filter(user=user, session_id=session_id)
        revoke_tokens(tokens, by=by)


def revoke_tokens_of_sessions(users: QuerySet[User], by: Actor) -> None:
    """Revoke all tokens that any of these users obtained in a session of a browser."""
    tokens = APIToken.objects.filter(user__in=users.values("pk"), session_id__gt="")
    revoke_tokens(tokens, by=by)


class ActivityMiddleware:
    """Records the activity of users with a session.

    It also sets the cookie with the session's id again if the cookie is missing, or has
    another program's value. The cookie lasts until the browser ends but the session for
    days, and services notice by the id that somebody has signed out.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        response = self.get_response(request)
        # Reading the user would load the session, so this is done only if the session
        # is loaded already. The use of a token is recorded elsewhere.
        if (
            request.session.accessed
            and getattr(request, "auth", None) is None
            and request.user.is_authenticated
        ):
            activity.users.note(request.user.pk, time.time())
            told = values_of(request, SESSION_ID_COOKIE)
            own = request.session.get(SESSION_ID)
            if own and own not in told and SESSION_ID_COOKIE not in response.cookies:
                set_session_id_cookie(request, response)
                # JupyterHub sets the XSRF cookie along with this one.
                request.sets_session_cookies_again = True
        return response
