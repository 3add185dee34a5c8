"""What a page states about who may see it."""

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
    """Send a stranger to the sign-in page, and from there back to this address."""
    here = quote(spelt_address(request), safe="")
    return HttpResponseRedirect(f"{reverse('account_login')}?next={here}")


class SignedInMixin:
    """A page for whoever has signed in; the page belongs to that person."""

    request: HttpRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return self.meet_stranger(request)
        self.check_access(request)
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]

    def meet_stranger(self, request: HttpRequest) -> HttpResponse:
        """Send somebody who has not signed in to where that is done."""
        return redirect_to_login(request)

    def check_access(self, request: HttpRequest) -> None:
        """Raise `PermissionDenied` if having an account is not enough."""

    @property
    def person(self) -> User:
        """Whose page this is."""
        return cast(User, self.request.user)

    @property
    def actor(self) -> Actor:
        """Who acts through this page, for the record."""
        return Actor.of_request(self.request)


class ScopeRequiredMixin(SignedInMixin):
    """A page for whoever holds one of its scopes, filtered or not.

    Which rows it shows is the queryset's business: `access.limit`.
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
