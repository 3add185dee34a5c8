"""The routes that the proxy should have, and the functions that keep them.

Paths are written here as the proxy lists them: unescaped, without a slash at the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from django.conf import settings
from django.db import OperationalError, connections
from django.db.models import Q

from controller.proxy.addresses import api_url as configured_api_url
from controller.proxy.addresses import hub_routespec
from controller.proxy.announced_proxy import announced_proxy
from controller.proxy.client import (
    MARK,
    TIMEOUT,
    ProxyClient,
    ProxyError,
    measured,
    origin,
)
from database.backoff import Backoff
from oauth.metadata import WELL_KNOWN
from scopes.refusals import Invalid
from servers.models import Server
from services.models import Service
from web.hosts import service_domain, user_domain

logger = logging.getLogger(__name__)

# Seconds of retries for a change that the proxy does not accept.
PATIENCE = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0
# Changes that are made one by one, without threads.
FEW = 3


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        settings.HUB.proxy_concurrency, thread_name_prefix="proxy"
    )


class Route(NamedTuple):
    """The target of requests below a path, and the data that the hub stores with it."""

    target: str
    data: dict[str, Any]


def proxy(api_url: str = "", auth_token: str = "") -> ProxyClient:
    """Return the client of the proxy in use, or of one at another address.

    The hub's secret is only for the hub's proxy: an address of another proxy needs a
    secret of its own, or the request is refused.
    """
    if not (api_url and auth_token):
        known_url, known_token = announced_proxy() or (
            configured_api_url(),
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
    """Return the permanent routes, those not of servers, by path."""
    hub = settings.HUB
    routes = {
        _key(f"/{unquote(spec).lstrip('/')}"): Route(target, {"extra": True})
        for spec, target in hub.extra_routes.items()
    }
    routes[_hub_path()] = Route(_hub_target(), {"hub": True})
    if _hub_path() != "/":
        # Clients of OAuth2 look for the hub's description outside of the base URL.
        path = f"/{WELL_KNOWN}{_base()}".rstrip("/")
        routes[path] = Route(_hub_target(), {"hub": True})
    services = Service.objects.exclude(url=None).exclude(url="")
    for name, url in services.values_list("name", "url"):
        routes[_service_path(name)] = Route(origin(url or ""), {"service": name})
    return routes


def _hub_target() -> str:
    """Return the address at which the proxy reaches the hub.

    That is the Unix socket, which tells the proxy from all other clients on this
    machine. It is an address if there is no socket, or if another proxy was set over
    the API, because that proxy may run anywhere.
    """
    place = settings.PROXY_SOCKET
    if place and Path(place).is_socket() and announced_proxy() is None:
        return f"http+unix://{quote(place, safe='')}"
    return origin(settings.HUB.hub_connect_url)


def _shown_target(target: str) -> str:
    """Return a target as clients of JupyterHub see it: the hub's by its address."""
    if target.startswith("http+unix:"):
        return origin(settings.HUB.hub_connect_url)
    return target


def _hub_path() -> str:
    """Return the path of the hub's route; longer paths have routes of their own."""
    return _key(unquote(hub_routespec()))


def _wanted() -> tuple[dict[str, Route], set[str]]:
    """Return the routes of the proxy, and the paths that are undecided yet."""
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
    """Add missing routes to the proxy and delete outdated ones.

    Servers start and stop meanwhile, and a route to a port that another process has
    taken is worse than none. So the proxy is read before the rows, and routes that were
    added later are not judged. Each change is checked once more.
    """
    present = client.routes()
    wanted, undecided = _wanted()
    missing = {
        path: route
        for path, route in wanted.items()
        if path not in present
        or not _same(present[path]["target"], route.target)
        or "extra" in route.data
    }
    _make(partial(_add, client, path, route) for path, route in missing.items())
    stale = present.keys() - wanted.keys() - undecided
    if stale or any("user" in route.data for route in missing.values()):
        again, undecided = _wanted()
        gone = (stale | wanted.keys()) - again.keys() - undecided
        _make(partial(client.delete_route, path) for path in gone)
        _make(
            partial(_add, client, path, route)
            for path, route in again.items()
            if wanted.get(path, route).target != route.target
        )


def _add(client: ProxyClient, path: str, route: Route) -> None:
    client.add_route(path, route.target, **route.data)


def _make(changes: Iterator[Callable[[], None]]) -> None:
    """Make changes, many of them at the same time; a failure ends them.

    Some classes of proxies wait after each change until the proxy has taken it over.
    """
    for change in islice(changes, FEW):
        change()
    pool = ThreadPoolExecutor(settings.HUB.proxy_concurrency)
    try:
        for made in [pool.submit(change) for change in changes]:
            made.result()
    finally:
        pool.shutdown(cancel_futures=True)


# Servers


def server_route(owner: str, name: str) -> str:
    """Return the path of a server's route in the proxy.

    With hosts of users and services, the path begins with the host.
    """
    host = user_domain(owner)
    return f"{host and '/'}{host}{_base()}user/{owner}/{name}".rstrip("/")


async def publish_server(server: Server) -> None:
    """Add the route of a server; its row needs `user` loaded, and its `url`.

    Temporary failures are retried for a while. Raises ProxyError if all tries fail,
    because a server without a route must not be called ready.
    """
    owner, name = server.user.name, server.name
    route = _route_of(owner, name, server.url)
    await _with_retries(
        lambda: proxy().add_route(server_route(owner, name), route.target, **route.data)
    )


async def withdraw_server(server: Server) -> None:
    """Delete the route of a server.

    Raises ProxyError if the proxy can't be reached; the next check deletes the route
    then.
    """
    path = server_route(server.user.name, server.name)
    await _with_retries(lambda: proxy().delete_route(path))


async def _with_retries(change: Callable[[], None]) -> None:
    """Make a change in a thread; retry temporary failures."""
    deadline = time.monotonic() + PATIENCE
    backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    while True:
        try:
            return await in_thread(change)
        except (ProxyError, OperationalError) as problem:
            lasting = isinstance(problem, ProxyError) and not problem.passing
            if lasting or time.monotonic() + backoff.pause > deadline:
                raise
        await backoff.sleep()


async def in_thread(change: Callable[[], None]) -> None:
    """Call the proxy outside of the event loop."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(_threads(), partial(_alone, change))


def _alone(change: Callable[[], None]) -> None:
    try:
        change()
    finally:
        # These threads use the database so seldom that no connection is kept.
        connections.close_all()


def _route_of(owner: str, name: str, url: str) -> Route:
    return Route(origin(url), {"user": owner, "server_name": name})


# Services


def publish_service(service: Service) -> None:
    """Add the route of a service with an address; a later check repairs a failure.

    Called after the commit, because the proxy can't be part of a transaction.
    """
    if service.url:
        path = _service_path(service.name)
        _try(_brief().add_route, path, origin(service.url), service=service.name)


def withdraw_service(service: Service) -> None:
    """Delete the route of a service."""
    if service.url:
        _try(_brief().delete_route, _service_path(service.name))


def _brief() -> ProxyClient:
    """Return the client of the proxy for changes that a request waits for."""
    client = proxy()
    client.timeout = TIMEOUT
    return client


def _try(change: Callable[..., None], *args: str, **data: str) -> None:
    try:
        change(*args, **data)
    except ProxyError as problem:
        logger.warning("A route is not up to date: %s", problem)


# JupyterHub's format


def routes_by_spec(client: ProxyClient) -> dict[str, dict[str, Any]]:
    """Return the proxy's routes as JupyterHub shows them: escaped, ending in `/`."""
    # A route for one host begins with the host, without a slash before.
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
