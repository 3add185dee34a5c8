"""Mixins that declare who may see a page."""

from __future__ import annotations

from typing import Any, ClassVar, cast
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.models import User
from audit.models import Actor
from web.paths import spelt_address


def redirect_to_login(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect to the sign-in page, which redirects back to this address."""
    here = quote(spelt_address(request), safe="")
    return HttpResponseRedirect(f"{reverse('account_login')}?next={here}")


class SignedInMixin:
    """A page for signed-in users, each with their own content."""

    request: HttpRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return self.handle_anonymous(request)
        self.check_access(request)
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]

    def handle_anonymous(self, request: HttpRequest) -> HttpResponse:
        """Redirect a person who has not signed in to the sign-in page."""
        return redirect_to_login(request)

    def check_access(self, request: HttpRequest) -> None:
        """Raise `PermissionDenied` if an account is not enough."""

    @property
    def person(self) -> User:
        """The signed-in user."""
        return cast(User, self.request.user)

    @property
    def actor(self) -> Actor:
        """The signed-in user as actor for the audit log."""
        return Actor.of_request(self.request)


class ScopeRequiredMixin(SignedInMixin):
    """A page for users with one of its scopes, filtered or not.

    The queryset limits the rows: `access.limit`.
    """

    scope: ClassVar[str | tuple[str, ...]] = ()

    def check_access(self, request: HttpRequest) -> None:
        scopes = (self.scope,) if isinstance(self.scope, str) else self.scope
        if not scopes:
            raise ImproperlyConfigured(f"{type(self).__name__} states no scope.")
        if not request.user.access.has(*scopes):  # type: ignore[union-attr]
            raise PermissionDenied(
                f"This page is for accounts with the scope {' or '.join(scopes)}."
            )
