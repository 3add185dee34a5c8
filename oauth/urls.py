"""Addresses of OAuth2, below `hub/api/oauth2/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.urls import path

from oauth import device_grant, device_pages, token_status, views
from scopes.grammar import LARGEST_WITH_SCOPES
from web.bodies import SMALL, limits_bodies
from web.outside import waits_for_others


def form(view: Callable[..., Any], largest: int = SMALL) -> Callable[..., Any]:
    """Limit the form that a view reads."""
    return limits_bodies(view, {"POST": largest})


def token_view() -> Callable[..., Any]:
    """Return the view of the token endpoint.

    With trusted publishers it may wait for their keys.
    """
    view = form(views.TokenView.as_view())
    if settings.HUB.trusted_publishers:
        return waits_for_others(view, "POST")
    return view


app_name = "oauth"
urlpatterns = [
    path(
        "authorize",
        form(views.AuthorizeView.as_view(), LARGEST_WITH_SCOPES),
        name="authorize",
    ),
    path(
        "device_authorization",
        form(device_grant.DeviceAuthorizationView.as_view()),
        name="device-authorization",
    ),
    path("token", token_view(), name="token"),
    path(
        "introspect",
        form(token_status.IntrospectionView.as_view()),
        name="introspection",
    ),
    path("revoke", form(token_status.RevocationView.as_view()), name="revocation"),
]

# Below `hub/`.
pages = (
    [
        path("device", form(device_pages.DeviceView.as_view()), name="device"),
        path("device/decide", form(device_pages.DecideView.as_view()), name="decide"),
    ],
    "devices",
)
