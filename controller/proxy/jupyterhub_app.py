"""JupyterHub's application, as far as a class of proxies finds one here.

Importing this module imports JupyterHub.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from traitlets.config import Config, Configurable

from controller.spawners import jupyterhub_objects

SURFACE: Final = (
    *("bind_url", "base_url", "hub", "subdomain_host", "ssl_key", "ssl_cert"),
    *("internal_ssl", "config"),
)


class HostedApp(Configurable):
    """The application of JupyterHub, whose parts are elsewhere in this hub.

    `users` and the services are empty, because the hub's own reconciliation adds the
    routes of both.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config=config)
        hub = settings.HUB
        self.bind_url = hub.bind_url
        self.base_url = hub.base_url
        self.subdomain_host = hub.subdomain_host
        self.ssl_key, self.ssl_cert = hub.ssl_key, hub.ssl_cert
        self.internal_ssl = False
        self.hub = jupyterhub_objects.hub()
        self.users: dict[Any, Any] = {}
        self._service_map: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"`proxy.app.{name}` is not available in this hub; "
            f"available: {', '.join(SURFACE)}"
        )


def no_database() -> Any:
    """Refuse the database session, which this process does not have."""
    raise AttributeError("`proxy.db` is not available in this hub")
