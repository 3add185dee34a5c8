"""Addresses of OAuth2, below `hub/api/oauth2/`."""

from __future__ import annotations

from django.urls import path

from oauth import views

app_name = "oauth"
urlpatterns = [
    path("authorize", views.AuthorizeView.as_view(), name="authorize"),
    path("token", views.TokenView.as_view(), name="token"),
]
