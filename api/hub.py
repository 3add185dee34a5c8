"""The hub in the API: its version, health, proxy and shutdown."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from api.base import APIRequest, HubAPIView, empty
from api.bodies import BodySerializer
from api.exceptions import error
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.permissions import AllowAny
from api.serializers import (
    ROUTES,
    ErrorSerializer,
    InfoSerializer,
    MessageSerializer,
    VersionSerializer,
)
from controller.proxy.announced_proxy import announce_proxy
from controller.proxy.client import ProxyError
from controller.proxy.routes import check_routes, proxy, routes_by_spec
from controller.shutdown import stop_hub
from scopes.refusals import Invalid
from tokens.authentication import TokenAuthentication
from web.outside import release_connection, waits_for_others

# The classes of JupyterHub's short names.
CLASSES = {
    "dummy": "jupyterhub.auth.DummyAuthenticator",
    "local": "jupyterhub.auth.LocalAuthenticator",
    "null": "jupyterhub.auth.NullAuthenticator",
    "pam": "jupyterhub.auth.PAMAuthenticator",
    "default": "jupyterhub.spawner.LocalProcessSpawner",
    "local-process": "jupyterhub.spawner.LocalProcessSpawner",
    "simple": "jupyterhub.spawner.SimpleLocalProcessSpawner",
}


# Most characters of an address or secret of a new proxy.
MAX_API_URL = 2_047
MAX_AUTH_TOKEN = 4_096


class RootView(HubAPIView):
    """The version, without credentials; other sites' pages may read it, too."""

    authentication_classes = (TokenAuthentication,)
    scopes: ClassVar = {"GET": AllowAny}

    @extend_schema(summary="Return the version", responses=VersionSerializer)
    def get(self, request: APIRequest) -> HttpResponse:
        return Response({"version": settings.JUPYTERHUB_VERSION})

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Access-Control-Allow-Origin"] = "*"
        return response


class InfoView(HubAPIView):
    """The versions of the hub's components."""

    scopes: ClassVar = {"GET": "read:hub"}

    @extend_schema(
        summary="Return the versions of the hub's components", responses=InfoSerializer
    )
    def get(self, request: APIRequest) -> HttpResponse:
        hub = settings.HUB
        return Response(
            {
                "version": settings.JUPYTERHUB_VERSION,
                "python": sys.version,
                "sys_executable": sys.executable,
                "spawner": _component(hub.spawner_class),
                "authenticator": _component(
                    hub.hosted_class or hub.authenticator_class
                ),
            }
        )


@cache
def _component(name: str) -> dict[str, str]:
    """Return a class and the version of its package."""
    name = CLASSES.get(name, name)
    package = name.partition(".")[0]
    if package == "jupyterhub":
        # JupyterHub's own classes, or the hub's replacements.
        return {"class": name, "version": settings.JUPYTERHUB_VERSION}
    try:
        return {"class": name, "version": version(package)}
    except PackageNotFoundError:
        return {"class": name, "version": "unknown"}


class HealthView(HubAPIView):
    """Whether this process responds; without use of the database."""

    authentication_classes = ()
    http_method_names = ["get", "head"]  # noqa: RUF012  (as Django's)
    scopes: ClassVar = {"GET": AllowAny}

    @extend_schema(summary="Check that the hub responds", responses={200: None})
    def get(self, request: APIRequest) -> HttpResponse:
        return HttpResponse(content_type="text/html")


class AnnouncedProxySerializer(BodySerializer):
    """The address of another proxy's API, and the token for it."""

    is_closed = False

    api_url = serializers.CharField(required=False)
    auth_token = serializers.CharField(required=False)

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if data is None:
            raise Invalid("need JSON body")
        if not isinstance(data, dict):
            raise Invalid("Request body must be JSON dict")
        api_url, auth_token = data.get("api_url", ""), data.get("auth_token", "")
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
        return {"api_url": api_url, "auth_token": auth_token}


class ProxyView(HubAPIView):
    """The routing table of the proxy."""

    scopes: ClassVar = {"GET": "proxy", "POST": "proxy", "PATCH": "proxy"}
    serializer_classes: ClassVar = {"PATCH": AnnouncedProxySerializer}
    pagination_class = HubPagination

    @extend_schema(
        summary="List the routes of the proxy",
        responses={200: ROUTES, 503: ErrorSerializer},
    )
    def get(self, request: APIRequest) -> HttpResponse:
        page = self.paginator.read(request)
        client = proxy()
        release_connection()
        try:
            routes = routes_by_spec(client)
        except ProxyError as problem:
            return error(503, str(problem))
        specs = sorted(routes)[page.offset : page.offset + page.limit]
        items = orjson.dumps({spec: routes[spec] for spec in specs}).decode()
        return page.json_response(items, len(routes))

    @extend_schema(
        summary="Check and repair the routes of the proxy",
        responses={200: None, 503: ErrorSerializer},
    )
    def post(self, request: APIRequest) -> HttpResponse:
        client = proxy()
        release_connection()
        try:
            check_routes(client)
        except ProxyError as problem:
            return error(503, str(problem))
        return empty(200)

    @extend_schema(
        summary="Use another proxy", responses={200: None, 503: ErrorSerializer}
    )
    def patch(self, request: APIRequest) -> HttpResponse:
        """Use another proxy from now on, after sending it all routes."""
        body = self.read_body()
        api_url, auth_token = body["api_url"], body["auth_token"]
        announced = proxy(api_url, auth_token)
        release_connection()
        try:
            check_routes(announced)
        except ProxyError as problem:
            # The current proxy stays in use if the new one does not respond.
            return error(503, str(problem))
        if api_url or auth_token:
            announce_proxy(announced.api_url, announced.auth_token, by=request.actor)
        return empty(200)


def is_web_address(url: str) -> bool:
    """Return whether a request can be sent to an address."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(
            parts.hostname and parts.port != 0
        )
    except ValueError:
        return False


class ShutdownSerializer(BodySerializer):
    """What to stop with the hub; the configuration has the defaults."""

    is_required = False
    is_closed = False

    proxy = serializers.BooleanField(allow_null=True, required=False)
    servers = serializers.BooleanField(allow_null=True, required=False)

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise Invalid("Request body must be JSON dict")
        for key in ("proxy", "servers"):
            value = data.get(key, False)
            if not isinstance(value, bool):
                raise Invalid(f"{key} must be true or false, got {value!r}")
        return data


class ShutdownView(HubAPIView):
    """The shutdown of the hub, after the response."""

    scopes: ClassVar = {"POST": "shutdown"}
    serializer_classes: ClassVar = {"POST": ShutdownSerializer}

    @extend_schema(
        summary="Stop the hub", responses={202: MessageSerializer, 503: ErrorSerializer}
    )
    def post(self, request: APIRequest) -> HttpResponse:
        body = self.read_body()
        if not stop_hub(servers=body.get("servers"), proxy=body.get("proxy")):
            return error(503, "Nothing runs this process that could end it.")
        return Response({"message": "Shutting down Hub"}, 202)


urlpatterns = [
    path("", RootView.as_view(), name="root"),
    path("info", InfoView.as_view()),
    path("health", HealthView.as_view()),
    path("proxy", waits_for_others(ProxyView.as_view(), "GET", "POST", "PATCH")),
    path("shutdown", ShutdownView.as_view()),
]
