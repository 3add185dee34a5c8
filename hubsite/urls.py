"""Every address of the hub, below `{base_url}hub/`."""

from __future__ import annotations

from django.conf import settings
from django.urls import include, path

prefix = f"{settings.HUB.base_url.lstrip('/')}hub/"

urlpatterns = [
    path(f"{prefix}api/", include("api.urls")),
    path(prefix, include("accounts.urls")),
    path(prefix, include("tokens.urls")),
    path(prefix, include("servers.urls")),
]
