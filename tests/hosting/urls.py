"""The hub's addresses as they are where a class is hosted from the start."""

from __future__ import annotations

from django.conf import settings
from django.urls import include, path

from accounts.urls import hosted
from hubsite.urls import urlpatterns as of_the_hub

prefix = settings.HUB_PREFIX.lstrip("/")
# After all pages of the hub, and before the redirects into it.
_after = [str(each.pattern) for each in of_the_hub].index(prefix.rstrip("/"))
urlpatterns = [
    *of_the_hub[:_after],
    path(prefix, include(hosted)),
    *of_the_hub[_after:],
]
