"""URLs of the pages about tokens."""

from __future__ import annotations

from django.urls import path

from tokens import views

app_name = "tokens"
urlpatterns = [
    path("token", views.TokenListView.as_view(), name="list"),
    path("token/request", views.RequestView.as_view(), name="request"),
    path("token/a<int:pk>/revoke", views.RevokeView.as_view(), name="revoke"),
]
