from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class ApiConfig(AppConfig):
    """The JupyterHub wire."""

    name = "api"

    def ready(self) -> None:
        """Register the system check; views can't be imported any earlier."""
        from api.checks import check_views_state_scopes

        register(check_views_state_scopes, Tags.security)
