"""The address of the proxy's API, and the hub's own route in the proxy."""

from __future__ import annotations

from urllib.parse import quote

from django.conf import settings

from controller.proxy.client import UNIX


def api_url() -> str:
    """Return the configured address, or the Unix socket of a hosted class."""
    if settings.HUB.is_proxy_hosted:
        return f"{UNIX}://{quote(settings.PROXY_HOST_SOCKET, safe='')}"
    return str(settings.HUB.proxy_api_url)


def hub_routespec() -> str:
    """Return the beginning of the paths that the proxy sends to the hub, escaped.

    With hosts of users and services all requests match by default, and the hub
    redirects those for a host without a route.
    """
    given = str(settings.HUB.hub_routespec)
    if settings.HUB.subdomain_host:
        return given or "/"
    return f"/{given.lstrip('/')}" if given else str(settings.HUB.base_url)
