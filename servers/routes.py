"""Which routes the proxy should have, and seeing to it that it has them."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings

from servers.proxy import MARK, ProxyClient
from services.models import Service


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
    services = Service.objects.exclude(url=None).exclude(url="")
    for name, url in services.values_list("name", "url"):
        routes[_key(f"{base}services/{name}")] = Route(url, {"service": name})
    return routes


def check_routes(client: ProxyClient) -> None:
    """Give the proxy the routes that it lacks, and take away those of the past."""
    wanted, present = wanted_routes(), client.routes()
    for path, route in wanted.items():
        if path not in present or not _same(present[path]["target"], route.target):
            client.add_route(path, route.target, **route.data)
    for path in present.keys() - wanted.keys():
        client.delete_route(path)


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


def _key(path: str) -> str:
    return path.rstrip("/") or "/"


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
