"""URLs of single sign-on: allauth's own, with a page if the provider is down.

The import of this module brings an HTTP client, so only a hub with a provider does it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from allauth.socialaccount.providers.openid_connect import views
from django.http import HttpRequest, HttpResponse
from django.urls import path

from accounts.single_sign_on import report_unreachable_provider
from web.outside import waits_for_others


def may_be_away(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Show a page if the configuration of the provider can't be fetched."""

    @wraps(view)
    def ask(request: HttpRequest, provider_id: str) -> HttpResponse:
        try:
            return view(request, provider_id)
        except OSError as problem:  # The base class of the HTTP client's errors.
            return report_unreachable_provider(request, problem)

    return ask


urlpatterns = [
    path(
        "oidc/<str:provider_id>/login/",
        # Read, it is a page with a button, which asks nobody.
        waits_for_others(may_be_away(views.login), "POST"),
        name="openid_connect_login",
    ),
    path(
        "oidc/<str:provider_id>/login/callback/",
        waits_for_others(may_be_away(views.callback), "GET", "POST"),
        name="openid_connect_callback",
    ),
]
