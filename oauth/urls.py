"""Addresses of OAuth2, below `hub/api/oauth2/`."""

from __future__ import annotations

from django.urls import path

from oauth import token_status, views

app_name = "oauth"
urlpatterns = [
    path("authorize", views.AuthorizeView.as_view(), name="authorize"),
    path("token", views.TokenView.as_view(), name="token"),
    path("introspect", token_status.IntrospectionView.as_view(), name="introspection"),
    path("revoke", token_status.RevocationView.as_view(), name="revocation"),
]
