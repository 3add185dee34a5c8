from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, reset_queries

from hubsite.process.loading import left_out

# This is the first of the installed apps. Django REST framework imports modules that
# the hub does not use: an HTTP client (6 MB), and the driver of PostgreSQL (9 MB) for
# the types of columns of that database.
with left_out(
    "requests",
    *(() if connection.vendor == "postgresql" else ("django.contrib.postgres",)),
):
    import rest_framework.compat  # noqa: F401


class HubsiteConfig(AppConfig):
    name = "hubsite"
    default = True

    def ready(self) -> None:
        from accounts.actions import pre_deactivate
        from accounts.sessions import post_session_end
        from hubsite.sessions import (
            revoke_tokens_of_session,
            revoke_tokens_of_sessions,
        )

        # Django checks connections at the beginning and end of a request, which takes
        # 10 % of a small call; the end is enough. Queries are stored for debugging
        # only, and neither kind of cache needs to be closed.
        request_started.disconnect(close_old_connections)
        request_started.disconnect(reset_queries)
        request_finished.disconnect(close_caches)

        post_session_end.connect(revoke_tokens_of_session)
        pre_deactivate.connect(revoke_tokens_of_sessions)


class HubAdminConfig(admin.AdminConfig):
    """Django's admin with the hub's site."""

    default_site = "hubsite.admin.HubAdminSite"
    default = False
