from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register


class ApiConfig(AppConfig):
    """JupyterHub's REST API."""

    name = "api"

    def ready(self) -> None:
        """Register callbacks of other rooms; views can't be imported any earlier."""
        from accounts.hosting.refresh import facts_of_owner
        from api.catalogue import operations
        from api.checks import check_views_state_scopes
        from api.whoami import facts
        from tokens.bearer_query import register_facts
        from tokens.operations import list_operations

        register(check_views_state_scopes, Tags.security)
        register_facts(facts)
        if settings.HUB.is_hosted:
            register_facts(facts_of_owner)
        list_operations.connect(operations)
