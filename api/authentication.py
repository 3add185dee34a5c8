"""Who asks, where a browser does: the person of its session."""

from __future__ import annotations

from typing import Any

from rest_framework import authentication
from rest_framework.request import Request

from scopes.refusals import Forbidden
from web.callers import Caller


class SessionAuthentication(authentication.SessionAuthentication):
    """Accepts the session of a browser, if the request is of its own making."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        asked: Any = request._request
        # Without the middleware, which finds out, any request may be a page's.
        if getattr(asked, "caller", Caller.PAGE) is Caller.PROGRAM:
            return None
        self.enforce_csrf(request)
        content_type = request.META.get("CONTENT_TYPE", "")
        if (
            request.method == "POST"
            and content_type
            and not content_type.lower().startswith("application/json")
        ):
            # A foreign page can make a browser post forms, but no JSON.
            return None
        if not asked.user.is_authenticated or not asked.user.is_active:
            return None
        return asked.user, None

    def enforce_csrf(self, request: Request) -> None:
        """Refuse what a foreign page may have caused.

        The middleware that guards against forgery knows; without it, none passes.
        """
        asked: Any = request._request
        if not hasattr(asked, "check_xsrf"):
            raise Forbidden("This request can't be told from a forged one.")
        asked.check_xsrf()
