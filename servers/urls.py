"""Addresses of pages about servers."""

from __future__ import annotations

from django.urls import path

from accounts.hosting.refresh import START, STOP, refreshes_before
from servers.limits import asks_for_limit
from servers.views.pending import PendingView
from servers.views.start import SpawnView, StartView
from servers.views.stop import DeleteView, StopView
from servers.views.stopped import StoppedServerView, UserRedirectView

spawn = refreshes_before(
    asks_for_limit(SpawnView.as_view(), "GET", "POST"), GET=START, POST=START
)
start = refreshes_before(asks_for_limit(StartView.as_view(), "POST"), POST=START)
stop = refreshes_before(StopView.as_view(), POST=STOP)

app_name = "servers"
urlpatterns = [
    path("user-redirect/", UserRedirectView.as_view()),
    path("user-redirect/<path:rest>", UserRedirectView.as_view()),
    path("user/<str:owner>", StoppedServerView.as_view(), name="stopped"),
    path("user/<str:owner>/", StoppedServerView.as_view()),
    path("user/<str:owner>/<path:rest>", StoppedServerView.as_view()),
    path("spawn", spawn, name="spawn"),
    path("spawn/<str:owner>", spawn),
    path(
        "spawn/<str:owner>/<str:server_name>",
        spawn,
    ),
    path("spawn-pending/<str:owner>", PendingView.as_view(), name="pending"),
    path("spawn-pending/<str:owner>/<str:server_name>", PendingView.as_view()),
    path("servers/start", start, name="start"),
    path("servers/stop", stop, name="stop"),
    path("servers/delete", DeleteView.as_view(), name="delete"),
]
