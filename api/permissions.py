"""Permission classes that compare a view's `scopes` with the caller's `Access`."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from rest_framework.permissions import AllowAny, BasePermission

from api.usage import note_use
from scopes.refusals import Forbidden, Invalid, NotFound
from web.paths import spelt_path

__all__ = ["AllowAny", "HasScope", "IsAuthenticated", "NothingHere"]


class IsAuthenticated(BasePermission):
    """Allows requests with a credential, a token or a session.

    Unlike DRF's class of this name it does not read `user`, because that would need a
    query for requests with a token.
    """

    def has_permission(self, request: Any, view: Any) -> bool:
        return request.successful_authenticator is not None


class HasScope(BasePermission):
    """Allows callers with one of the scopes that the view declares for the method.

    The use of a token is noted, whether the caller may do this or not.
    """

    def has_permission(self, request: Any, view: Any) -> bool:
        is_allowed = False
        try:
            is_allowed = self.decide(request, view)
        finally:
            if request.auth is not None:
                note_use(request, view.scopes, is_allowed=is_allowed)
        return is_allowed

    def decide(self, request: Any, view: Any) -> bool:
        method = "GET" if request.method == "HEAD" else request.method
        needed = view.scopes.get(method)
        if request.method == "OPTIONS" or not view.has_handler(request.method):
            return True
        if "%" in request.path_info and not _is_text(spelt_path(request)):
            # Django replaces such bytes by escapes, which a name may contain, too.
            raise Invalid("The address is not text in UTF-8.")
        if isinstance(needed, type):
            return needed().has_permission(request, view)
        if not IsAuthenticated().has_permission(request, view):
            return False
        if needed is None:
            raise Forbidden("This method is closed.")
        scopes = (needed,) if isinstance(needed, str) else needed
        access = request.access
        if access.reach(*scopes) is None:
            return True
        if method == "GET" and view.list_of is not None:
            access.require_list(*scopes, model=view.list_of)
        elif view.kwargs:
            access.require_for(view.get_permission_object(), *scopes)
        else:
            access.require(*scopes)
        return True


def _is_text(path: str) -> bool:
    """Return whether a path with escapes is text in UTF-8."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True


class NothingHere(BasePermission):
    """Raises "not found" for all callers."""

    def has_permission(self, request: Any, view: Any) -> bool:
        raise NotFound("There is nothing at this address.")
