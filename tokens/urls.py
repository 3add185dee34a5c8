"""URLs of the pages about tokens."""

from __future__ import annotations

from django.urls import path

from tokens import leak_views, views

app_name = "tokens"
urlpatterns = [
    path("token", views.TokenListView.as_view(), name="list"),
    path("token/request", views.RequestView.as_view(), name="request"),
    path("token/found", leak_views.FoundTokenView.as_view(), name="found"),
    path("token/report", leak_views.ReportView.as_view(), name="report"),
    path("token/reported", leak_views.ReportedView.as_view(), name="reported"),
    path("token/leaks/<int:pk>/seen", leak_views.SeenView.as_view(), name="seen"),
    path("token/a<int:pk>/revoke", views.RevokeView.as_view(), name="revoke"),
]
