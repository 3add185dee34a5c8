"""The ids of sessions for services and servers, and the end of sessions."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from allauth.core import context
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from accounts.models import User
from audit.actions import record
from audit.models import Actor
from web.hooks import Hook
from web.hosts import hub_domain

SESSION_ID = "session_id"

SESSION_ID_COOKIE = "jupyterhub-session-id"

# Called with the user, the id in the cookie of a session that ends, and the actor.
post_session_end = Hook[[User, str, Actor], object]()


def set_session_id_cookie(request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie with the id by which services and servers know this session."""
    response.set_cookie(
        SESSION_ID_COOKIE,
        request.session[SESSION_ID],
        path=settings.HUB.base_url,
        domain=session_id_domain(),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def session_id_domain() -> str | None:
    """Return the domain of the cookie, which includes the servers' own hosts."""
    return hub_domain() if settings.HUB.subdomain_host else None


def close_session(user: User, session_id: str, by: Actor) -> None:
    """Revoke the tokens of a session that ends, and stop its dependents."""
    post_session_end(user, session_id, by)


def end_other_sessions(user: User) -> None:
    """End every other session of a user, with its tokens.

    A new password invalidates other sessions in any case, but the tokens that were
    obtained in them would stay valid.
    """
    here = context.request.session.session_key
    others = UserSession.objects.filter(user=user).exclude(session_key=here)
    UserSessionsAdapter().end_sessions(others)


class UserSessionsAdapter(DefaultUserSessionsAdapter):
    """Ends sessions from another one, with their tokens."""

    def end_sessions(self, sessions: Iterable[UserSession]) -> None:
        engine = import_module(settings.SESSION_ENGINE)
        for session in sessions:
            stored = engine.SessionStore(session.session_key).load()
            user = session.user
            by = Actor("user", user.name)
            close_session(user, stored.get(SESSION_ID, ""), by)
            session.end()
            record(by, "session.logout", "user", user.name, elsewhere=True)
