"""Every address of the hub, below `{base_url}hub/`."""

from __future__ import annotations

import re
from urllib.parse import unquote

from django.conf import settings
from django.urls import include, path, re_path

from accounts.urls import hosted, sign_in
from api.hub import HealthView
from api.hub import RootView as RootAPIView
from hubsite.admin import site
from hubsite.metrics import MetricsView
from hubsite.pages import unavailable, views
from hubsite.pages.home import HomeView
from oauth.metadata import WELL_KNOWN, MetadataView
from oauth.urls import pages as device_pages
from servers.limits import asks_for_limit

base = unquote(settings.HUB.base_url).lstrip("/")
prefix = f"{base}hub/"

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler429 = views.too_many_requests
handler500 = unavailable.server_error

urlpatterns = [
    path(f"{prefix}api/docs/", views.DocsView.as_view(), name="docs"),
    path(f"{prefix}api", RootAPIView.as_view()),
    path(f"{prefix}api/metrics", MetricsView.as_view()),
    path(f"{prefix}api/oauth2/", include("oauth.urls")),
    path(f"{prefix}api/", include("api.urls")),
    path(f"{prefix}metrics", MetricsView.as_view(), name="metrics"),
    path(f"{prefix}health", HealthView.as_view(), name="health"),
    path(prefix, views.root_view(), name="root"),
    path(f"{prefix}home", asks_for_limit(HomeView.as_view(), "GET"), name="home"),
    path(f"{prefix}logo", views.logo, name="logo"),
    path(f"{prefix}error/<int:code>", views.error_page, name="error"),
    path(f"{prefix}security/csp-report", views.csp_report, name="csp-report"),
    path(f"{prefix}admin", site.entrance),
    path(f"{prefix}admin/", site.urls),
    path(prefix, include(sign_in)),
    path(prefix, include("accounts.urls")),
    path(prefix, include("tokens.urls")),
    path(prefix, include(device_pages)),
    path(prefix, include("servers.urls")),
    path(prefix, include("sharing.urls")),
    path(f"{prefix}{WELL_KNOWN}", MetadataView.as_view(), name="oauth-metadata"),
    path(f"{base}{WELL_KNOWN}", MetadataView.as_view()),
    # After all pages of the hub.
    *([path(prefix, include(hosted))] if settings.HUB.is_hosted else ()),
    # Addresses outside of `hub/`, which JupyterHub redirects into it.
    path(prefix.rstrip("/"), views.to_hub_root),
    re_path(rf"^{re.escape(base)}(?!hub/)(?P<rest>.*)$", views.into_hub),
]
if base:
    urlpatterns += [
        path(f"{WELL_KNOWN}/{base.rstrip('/')}", MetadataView.as_view()),
        path(base.rstrip("/"), views.into_hub),
    ]
