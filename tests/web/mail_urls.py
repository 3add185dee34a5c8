"""The hub's URLs with the pages for links in mails."""

from __future__ import annotations

from django.urls import include, path

from accounts.urls import password_reset
from hubsite.urls import handler400, handler403, handler404, handler429, urlpatterns

__all__ = ["handler400", "handler403", "handler404", "handler429", "urlpatterns"]

urlpatterns = [path("hub/accounts/", include(password_reset)), *urlpatterns]
