"""Addresses of pages about servers."""

from __future__ import annotations

from django.urls import path

from servers import views

app_name = "servers"
urlpatterns = [
    path("accept-share", views.AcceptShareView.as_view(), name="accept-share"),
    path("user-redirect/", views.UserRedirectView.as_view()),
    path("user-redirect/<path:rest>", views.UserRedirectView.as_view()),
    path("user/<str:owner>", views.StoppedServerView.as_view(), name="stopped"),
    path("user/<str:owner>/", views.StoppedServerView.as_view()),
    path("user/<str:owner>/<path:rest>", views.StoppedServerView.as_view()),
    path("spawn/<str:owner>", views.SpawnView.as_view(), name="spawn"),
    path("spawn/<str:owner>/<str:server_name>", views.SpawnView.as_view()),
    path("spawn-pending/<str:owner>", views.SpawnView.as_view()),
    path("spawn-pending/<str:owner>/<str:server_name>", views.SpawnView.as_view()),
]
