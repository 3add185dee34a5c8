from django.apps import AppConfig
from django.contrib.admin import apps as admin


class HubsiteConfig(AppConfig):
    name = "hubsite"
    default = True

    def ready(self) -> None:
        from accounts.actions import closings
        from accounts.adapter import session_endings
        from hubsite.sessions import (
            revoke_tokens_of_session,
            revoke_tokens_of_sessions,
        )

        session_endings.append(revoke_tokens_of_session)
        closings.append(revoke_tokens_of_sessions)


class HubAdminConfig(admin.AdminConfig):
    """Django's admin, on our site."""

    default_site = "hubsite.admin.HubAdminSite"
    default = False
