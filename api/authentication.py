"""Authentication of a browser by its session."""

from __future__ import annotations

from typing import Any

from rest_framework import authentication
from rest_framework.request import Request

from scopes.refusals import Forbidden
from web.callers import Caller


class SessionAuthentication(authentication.SessionAuthentication):
    """Accepts a browser's session, if the request comes from a page of the hub."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        asked: Any = request._request
        # Without the middleware, any request may come from a page.
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
        """Refuse a request that a foreign page may have sent.

        The XSRF middleware decides; without it, every request is refused.
        """
        asked: Any = request._request
        if not hasattr(asked, "check_xsrf"):
            raise Forbidden("This request can't be told from a forged one.")
        asked.check_xsrf()
