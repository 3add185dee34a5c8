"""URLs below `hub/api/`; each module of a resource lists its own.

Addresses have no slash at the end, except where the slash stands for an empty
server name.
"""

from __future__ import annotations

from django.urls import re_path

from api import (
    activity,
    authorizations,
    batchspawner,
    groups,
    hub,
    leaks,
    servers,
    services,
    share_codes,
    shares,
    token_management,
    token_notices,
    token_requests,
    tokens,
    users,
    whoami,
)
from api.base import UnknownView
from api.openapi import views

app_name = "api"
urlpatterns = [
    *whoami.urlpatterns,
    *users.urlpatterns,
    *activity.urlpatterns,
    *tokens.urlpatterns,
    *leaks.urlpatterns,
    *token_requests.urlpatterns,
    *token_notices.urlpatterns,
    *token_management.urlpatterns,
    *servers.urlpatterns,
    *groups.urlpatterns,
    *services.urlpatterns,
    *shares.urlpatterns,
    *share_codes.urlpatterns,
    *batchspawner.urlpatterns,
    *hub.urlpatterns,
    *authorizations.urlpatterns,
    *views.urlpatterns,
    re_path(r"^", UnknownView.as_view()),
]
