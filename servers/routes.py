"""Which routes the proxy should have, and seeing to it that it has them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings

from servers.proxy import MARK, ProxyClient, ProxyError
from services.models import Service

logger = logging.getLogger(__name__)


class Route(NamedTuple):
    """Where requests below a path go, and what the hub notes about that."""

    target: str
    data: dict[str, Any]


def proxy(api_url: str = "", auth_token: str = "") -> ProxyClient:
    """Return the configured proxy, or one that is somewhere else."""
    return ProxyClient(
        api_url or settings.HUB.proxy_api_url, auth_token or settings.PROXY_AUTH_TOKEN
    )


def wanted_routes() -> dict[str, Route]:
    """Return the routes that there should be, by unescaped path."""
    base = settings.HUB.base_url
    routes = {_key(base): Route(settings.HUB.hub_connect_url, {"hub": True})}
    services = Service.objects.exclude(url=None)
    for name, url in services.values_list("name", "url"):
        if url:
            routes[_service_path(name)] = Route(url, {"service": name})
    return routes


def check_routes(client: ProxyClient) -> None:
    """Give the proxy the routes that it lacks, and take away those of the past."""
    wanted, present = wanted_routes(), client.routes()
    for path, route in wanted.items():
        if path not in present or not _same(present[path]["target"], route.target):
            client.add_route(path, route.target, **route.data)
    for path in present.keys() - wanted.keys():
        client.delete_route(path)


def publish_service(service: Service) -> None:
    """Lead the proxy to a service with an address; a check later makes up for failure.

    Called after the change is committed: the proxy can't be part of a transaction.
    """
    if service.url:
        path = _service_path(service.name)
        _try(proxy().add_route, path, service.url, service=service.name)


def withdraw_service(service: Service) -> None:
    """Let the proxy forget a service."""
    if service.url:
        _try(proxy().delete_route, _service_path(service.name))


def _try(change: Callable[..., None], *args: str, **data: str) -> None:
    try:
        change(*args, **data)
    except ProxyError as problem:
        logger.warning("A route is not up to date: %s", problem)


def routes_by_spec(client: ProxyClient) -> dict[str, dict[str, Any]]:
    """Return the proxy's routes as JupyterHub shows them: escaped, ending in `/`."""
    return {
        (spec := f"{quote(path, safe='/@')}".rstrip("/") + "/"): {
            "routespec": spec,
            "target": route["target"],
            "data": {
                key: value
                for key, value in route.items()
                if key not in ("target", MARK)
            },
        }
        for path, route in client.routes().items()
    }


def _service_path(name: str) -> str:
    return f"{settings.HUB.base_url}services/{name}"


def _key(path: str) -> str:
    return path.rstrip("/") or "/"


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
