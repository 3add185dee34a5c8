"""Every address below `hub/api/`; each resource lists its own.

There is no slash at the end of an address, except where it stands for an empty
server name.
"""

from __future__ import annotations

from django.urls import re_path

from api import (
    authorizations,
    batchspawner,
    groups,
    hub,
    openapi,
    servers,
    services,
    shares,
    tokens,
    users,
    whoami,
)
from api.base import UnknownView

app_name = "api"
urlpatterns = [
    *whoami.urlpatterns,
    *users.urlpatterns,
    *tokens.urlpatterns,
    *servers.urlpatterns,
    *groups.urlpatterns,
    *services.urlpatterns,
    *shares.urlpatterns,
    *batchspawner.urlpatterns,
    *hub.urlpatterns,
    *authorizations.urlpatterns,
    *openapi.urlpatterns,
    re_path(r"^", UnknownView.as_view()),
]
