"""The hub itself on the wire: its version, its health, its proxy and its end."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from api.base import PUBLIC, APIRequest, HubAPIView, empty, error, reply
from api.pagination import Page
from controller.proxy.announced_proxy import announce_proxy
from controller.proxy.client import ProxyError
from controller.proxy.routes import check_routes, proxy, routes_by_spec
from controller.shutdown import stop_hub
from scopes.refusals import Invalid
from web.outside import release_connection, waits_for_others

# What JupyterHub's short names stand for.
CLASSES = {
    "dummy": "jupyterhub.auth.DummyAuthenticator",
    "local": "jupyterhub.auth.LocalAuthenticator",
    "null": "jupyterhub.auth.NullAuthenticator",
    "pam": "jupyterhub.auth.PAMAuthenticator",
    "default": "jupyterhub.spawner.LocalProcessSpawner",
    "local-process": "jupyterhub.spawner.LocalProcessSpawner",
    "simple": "jupyterhub.spawner.SimpleLocalProcessSpawner",
}


# Characters of what a proxy that announces itself tells.
MAX_API_URL = 2_047
MAX_AUTH_TOKEN = 4_096


class RootView(HubAPIView):
    """The version, for anybody; other pages may ask, too."""

    scopes: ClassVar = {"GET": PUBLIC}

    def get(self, request: APIRequest) -> HttpResponse:
        return reply({"version": settings.HUB_VERSION})

    def refuse_forged(self, request: Any) -> None:
        """Let everything pass: there is nothing here to act on."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().dispatch(request, *args, **kwargs)
        response["Access-Control-Allow-Origin"] = "*"
        return response


class InfoView(HubAPIView):
    """What the hub runs on."""

    scopes: ClassVar = {"GET": "read:hub"}

    def get(self, request: APIRequest) -> HttpResponse:
        hub = settings.HUB
        return reply(
            {
                "version": settings.HUB_VERSION,
                "python": sys.version,
                "sys_executable": sys.executable,
                "spawner": _component(hub.spawner_class),
                "authenticator": _component(hub.authenticator_class),
            }
        )


@cache
def _component(name: str) -> dict[str, str]:
    """Name a class and the version of the package that it comes from."""
    name = CLASSES.get(name, name)
    package = name.partition(".")[0]
    if package == "jupyterhub":
        # Either its own classes or ours that stand for them.
        return {"class": name, "version": settings.HUB_VERSION}
    try:
        return {"class": name, "version": version(package)}
    except PackageNotFoundError:
        return {"class": name, "version": "unknown"}


class HealthView(HubAPIView):
    """Whether this process answers at all; asks nothing of the database."""

    scopes: ClassVar = {"GET": PUBLIC}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return error(405, f"{request.method} is not supported here.")
        return HttpResponse(content_type="text/html")

    def get(self, request: APIRequest) -> HttpResponse:
        raise NotImplementedError


class ProxyView(HubAPIView):
    """The routing table of the proxy."""

    scopes: ClassVar = {"GET": "proxy", "POST": "proxy", "PATCH": "proxy"}

    def get(self, request: APIRequest) -> HttpResponse:
        page = Page.of(request)
        client = proxy()
        release_connection()
        try:
            routes = routes_by_spec(client)
        except ProxyError as problem:
            return error(503, str(problem))
        specs = sorted(routes)[page.offset : page.offset + page.limit]
        items = orjson.dumps({spec: routes[spec] for spec in specs}).decode()
        return page.reply(items, len(routes), request)

    def post(self, request: APIRequest) -> HttpResponse:
        client = proxy()
        release_connection()
        try:
            check_routes(client)
        except ProxyError as problem:
            return error(503, str(problem))
        return empty(200)

    def patch(self, request: APIRequest) -> HttpResponse:
        """Fill a proxy that announces itself, and use it from now on."""
        body = self.json()
        if body is None:
            raise Invalid("need JSON body")
        if not isinstance(body, dict):
            raise Invalid("Request body must be JSON dict")
        api_url, auth_token = body.get("api_url", ""), body.get("auth_token", "")
        if not isinstance(api_url, str) or not isinstance(auth_token, str):
            raise Invalid("api_url and auth_token must be strings")
        if api_url and not is_web_address(api_url):
            raise Invalid("api_url must be an http or https address")
        if not re.fullmatch(r"[!-~]*", auth_token):
            raise Invalid("auth_token must be of letters, digits and signs of ASCII")
        if len(api_url) > MAX_API_URL or len(auth_token) > MAX_AUTH_TOKEN:
            raise Invalid(
                f"api_url has at most {MAX_API_URL} characters and auth_token at most"
                f" {MAX_AUTH_TOKEN}"
            )
        announced = proxy(api_url, auth_token)
        release_connection()
        try:
            check_routes(announced)
        except ProxyError as problem:
            # One that does not answer takes nobody's place.
            return error(503, str(problem))
        if api_url or auth_token:
            announce_proxy(announced.api_url, announced.auth_token, by=request.actor)
        return empty(200)


def is_web_address(url: str) -> bool:
    """Tell whether something can be asked for at an address at all."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(
            parts.hostname and parts.port != 0
        )
    except ValueError:
        return False


class ShutdownView(HubAPIView):
    """The end of the hub, after the answer."""

    scopes: ClassVar = {"POST": "shutdown"}

    def post(self, request: APIRequest) -> HttpResponse:
        body = self.json()
        if body is None:
            body = {}
        if not isinstance(body, dict):
            raise Invalid("Request body must be JSON dict")
        for key in ("proxy", "servers"):
            value = body.get(key, False)
            if not isinstance(value, bool):
                raise Invalid(f"{key} must be true or false, got {value!r}")
        if not stop_hub(servers=body.get("servers"), proxy=body.get("proxy")):
            return error(503, "Nothing runs this process that could end it.")
        return reply({"message": "Shutting down Hub"}, 202)


urlpatterns = [
    path("", RootView.as_view(), name="root"),
    path("info", InfoView.as_view()),
    path("health", HealthView.as_view()),
    path("proxy", waits_for_others(ProxyView.as_view(), "GET", "POST", "PATCH")),
    path("shutdown", ShutdownView.as_view()),
]
