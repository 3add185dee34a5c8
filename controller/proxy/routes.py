"""Which routes the proxy should have, and seeing to it that it has them.

A path is spelt here as the proxy lists it: unescaped, and without a slash at the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from django.conf import settings
from django.db import OperationalError, connections
from django.db.models import Q

from controller.proxy.announced_proxy import announced_proxy
from controller.proxy.client import MARK, ProxyClient, ProxyError, measured, origin
from scopes.refusals import Invalid
from servers.models import Server
from services.models import Service
from web.hosts import service_domain, user_domain

logger = logging.getLogger(__name__)

# For so many seconds a change is tried again if the proxy does not take it.
PATIENCE = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0
# So many changes are under way at once at most.
CONCURRENCY = 4

_threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="proxy")


class Route(NamedTuple):
    """Where requests below a path go, and what the hub notes about that."""

    target: str
    data: dict[str, Any]


def proxy(api_url: str = "", auth_token: str = "") -> ProxyClient:
    """Return the proxy that is in use, or one that is somewhere else.

    The secret that the hub knows is for the proxy that the hub knows: one at another
    address has to come with a secret of its own, or the request is refused.
    """
    if not (api_url and auth_token):
        known_url, known_token = announced_proxy() or (
            settings.HUB.proxy_api_url,
            settings.PROXY_AUTH_TOKEN,
        )
        is_elsewhere = api_url and api_url.rstrip("/") != known_url.rstrip("/")
        if is_elsewhere and not auth_token:
            raise Invalid(
                f"The proxy at {api_url} needs its own secret: send it as auth_token."
                " The hub sends the secret that it knows to no other address."
            )
        api_url, auth_token = api_url or known_url, auth_token or known_token
    return ProxyClient(api_url, auth_token)


def lasting_routes() -> dict[str, Route]:
    """Return the routes that do not come and go with servers, by path."""
    hub = settings.HUB
    routes = {
        _key(f"/{unquote(spec).lstrip('/')}"): Route(target, {"extra": True})
        for spec, target in hub.extra_routes.items()
    }
    routes[_hub_path()] = Route(_hub_target(), {"hub": True})
    services = Service.objects.exclude(url=None).exclude(url="")
    for name, url in services.values_list("name", "url"):
        routes[_service_path(name)] = Route(origin(url or ""), {"service": name})
    return routes


def _hub_target() -> str:
    """Return where the proxy reaches the hub.

    That is the Unix socket, which tells the proxy from everybody else on this machine,
    unless there is none, or another proxy has announced itself: that may run anywhere.
    """
    place = settings.PROXY_SOCKET
    if place and Path(place).is_socket() and announced_proxy() is None:
        return f"http+unix://{quote(place, safe='')}"
    return origin(settings.HUB.hub_connect_url)


def _shown_target(target: str) -> str:
    """Return a target as clients of JupyterHub read it: the hub's by its address."""
    if target.startswith("http+unix:"):
        return origin(settings.HUB.hub_connect_url)
    return target


def _hub_path() -> str:
    """Return the path below which requests reach the hub, unless a longer one leads on.

    With hosts of users and services these are all requests: those for a host without
    a route are led on by the hub.
    """
    return "/" if settings.HUB.subdomain_host else _key(_base())


def _wanted() -> tuple[dict[str, Route], set[str]]:
    """Return the routes that there should be, and paths on which nobody decides yet."""
    routes, undecided = lasting_routes(), set()
    active = Server.objects.filter(Q(ready=True) | Q(pending__isnull=False))
    for owner, name, url, ready in active.order_by().values_list(
        "user__name", "name", "url", "ready"
    ):
        path = server_route(owner, name)
        if ready and url:
            routes[path] = _route_of(owner, name, url)
        else:
            undecided.add(path)
    return routes, undecided


@measured("check")
def check_routes(client: ProxyClient) -> None:
    """Give the proxy the routes that it lacks, and take away those of the past.

    Servers come and go meanwhile, and a route that leads to a port which is another's
    by now is worse than none. So the proxy is read before the rows are: a route that
    was added later is not judged. And what is changed is looked at once more.
    """
    present = client.routes()
    wanted, undecided = _wanted()
    added = False
    for path, route in wanted.items():
        if (
            path not in present
            or not _same(present[path]["target"], route.target)
            or "extra" in route.data
        ):
            client.add_route(path, route.target, **route.data)
            added = added or "user" in route.data
    stale = present.keys() - wanted.keys() - undecided
    if stale or added:
        again, undecided = _wanted()
        for path in (stale | wanted.keys()) - again.keys() - undecided:
            client.delete_route(path)
        for path, route in again.items():
            if wanted.get(path, route).target != route.target:
                client.add_route(path, route.target, **route.data)


# Servers


def server_route(owner: str, name: str) -> str:
    """Return the path below which the proxy leads to a server.

    With hosts of users and services, the host is the first part of it.
    """
    host = user_domain(owner)
    return f"{host and '/'}{host}{_base()}user/{owner}/{name}".rstrip("/")


async def publish_server(server: Server) -> None:
    """Lead the proxy to a server; its row needs `user` loaded, and its `url`.

    A proxy that is away is asked again for a while. Raises ProxyError if all that was
    in vain: such a server can't be reached and should not be called ready.
    """
    owner, name = server.user.name, server.name
    route = _route_of(owner, name, server.url)
    await _insist(
        lambda: proxy().add_route(server_route(owner, name), route.target, **route.data)
    )


async def withdraw_server(server: Server) -> None:
    """Let the proxy forget a server.

    Raises ProxyError if the proxy can't be reached; the next check makes up for it.
    """
    path = server_route(server.user.name, server.name)
    await _insist(lambda: proxy().delete_route(path))


async def _insist(change: Callable[[], None]) -> None:
    """Make a change in a thread; try again what may pass."""
    deadline = time.monotonic() + PATIENCE
    pause = FIRST_PAUSE
    while True:
        try:
            return await in_thread(change)
        except (ProxyError, OperationalError) as problem:
            lasting = isinstance(problem, ProxyError) and not problem.passing
            if lasting or time.monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def in_thread(change: Callable[[], None]) -> None:
    """Talk to the proxy outside of the event loop."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(_threads, partial(_alone, change))


def _alone(change: Callable[[], None]) -> None:
    try:
        change()
    finally:
        # These threads ask the database so seldom that no connection is kept.
        connections.close_all()


def _route_of(owner: str, name: str, url: str) -> Route:
    return Route(origin(url), {"user": owner, "server_name": name})


# Services


def publish_service(service: Service) -> None:
    """Lead the proxy to a service with an address; a check later makes up for failure.

    Called after the change is committed: the proxy can't be part of a transaction.
    """
    if service.url:
        path = _service_path(service.name)
        _try(proxy().add_route, path, origin(service.url), service=service.name)


def withdraw_service(service: Service) -> None:
    """Let the proxy forget a service."""
    if service.url:
        _try(proxy().delete_route, _service_path(service.name))


def _try(change: Callable[..., None], *args: str, **data: str) -> None:
    try:
        change(*args, **data)
    except ProxyError as problem:
        logger.warning("A route is not up to date: %s", problem)


# The wire


def routes_by_spec(client: ProxyClient) -> dict[str, dict[str, Any]]:
    """Return the proxy's routes as JupyterHub shows them: escaped, ending in `/`."""
    # A route for one host is named by that, without a slash before.
    leading = "/" if settings.HUB.subdomain_host else ""
    return {
        (spec := quote(path, safe="/@").rstrip("/").removeprefix(leading) + "/"): {
            "routespec": spec,
            "target": _shown_target(route["target"]),
            "data": {
                key: value
                for key, value in route.items()
                if key not in ("target", MARK)
            },
        }
        for path, route in client.routes().items()
    }


def _service_path(name: str) -> str:
    host = service_domain(name)
    return f"{host and '/'}{host}{_base()}services/{name}"


def _base() -> str:
    return unquote(settings.HUB.base_url)


def _key(path: str) -> str:
    return path.rstrip("/") or "/"


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
