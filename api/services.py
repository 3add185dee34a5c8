"""Services in the API: list, create and delete."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from rest_framework.response import Response

from api.base import APIRequest, HubAPIView, empty
from api.bodies import (
    VALUES_WITH_SCOPES,
    BodySerializer,
    Flag,
    Names,
    Object,
    Text,
    check_names,
)
from api.exceptions import error
from api.openapi.decorators import extend_schema
from api.serializers import ErrorSerializer, ServicesByName, ServiceSerializer
from controller.proxy.routes import publish_service, withdraw_service
from scopes.access import Access, Target
from scopes.grammar import LARGEST_WITH_SCOPES
from scopes.refusals import Invalid, NotFound
from services.actions import create_service, delete_service, refuse_taken
from services.models import Service

READ = ("read:services", "read:services:name", "read:roles:services")


class ServiceBodySerializer(BodySerializer):
    """The fields of a service in a request; the address contains its name."""

    noun = "service"
    largest = LARGEST_WITH_SCOPES
    most_values = VALUES_WITH_SCOPES

    name = Text()
    admin = Flag()
    url = Text()
    oauth_client_allowed_scopes = Names()
    api_token = Text()
    info = Object()
    display = Flag()
    oauth_no_confirm = Flag()
    command = Names()
    cwd = Text()
    environment = Object()
    user = Text()
    oauth_client_id = Text()
    oauth_redirect_uri = Text()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if not data:
            raise Invalid(
                "Invalid service data: give an object with at least one field."
            )
        if isinstance(data, dict):
            # The address contains the service's name, whatever the body says.
            data = {key: value for key, value in data.items() if key != "name"}
        checked = super().run_validation(data)
        for key in ("oauth_client_allowed_scopes", "command"):
            check_names(checked.get(key, []), f"service.{key}")
        for key, limit in LENGTHS.items():
            if len(checked.get(key, "")) > limit:
                raise Invalid(f"service.{key} is longer than {limit} characters")
        return checked


LENGTHS = {
    field.name: field.max_length
    for field in Service._meta.concrete_fields
    if field.name in ServiceBodySerializer().fields and field.max_length
}


def service_json(service: Service, keys: frozenset[str]) -> dict[str, Any]:
    """Return the visible keys of a service; unset ones get a default."""
    data = row_json(service, keys)
    defaults = {"url": "", "info": {}, "display": True}
    return {
        key: defaults[key] if value is None and key in defaults else value
        for key, value in data.items()
    }


def row_json(service: Service, keys: frozenset[str]) -> dict[str, Any]:
    """Return a service with unset columns as null, as `GET /user` does."""
    return {key: read(service) for key, read in READERS.items() if key in keys}


READERS: dict[str, Any] = {
    "kind": lambda service: "service",
    "name": lambda service: service.name,
    "admin": lambda service: service.admin,
    "url": lambda service: service.url,
    "prefix": lambda service: prefix(service.name) if service.url else "",
    "command": lambda service: service.command or [],
    "pid": lambda service: service.pid,
    "info": lambda service: service.info,
    "display": lambda service: service.display,
    "roles": lambda service: [role.name for role in service.roles.all()],
}


def prefix(name: str) -> str:
    """Return the path of a service in the proxy."""
    return f"{settings.HUB.base_url}services/{quote(name, safe='@')}/"


class ServicesView(HubAPIView):
    """All services, by name."""

    scopes: ClassVar = {"GET": "list:services"}
    list_of = Service

    @extend_schema(summary="List services by name", responses=ServicesByName)
    def get(self, request: APIRequest) -> HttpResponse:
        services = request.access.limit("list:services", queryset=Service.objects.all())
        return Response(
            {
                service.name: service_json(service, visible(request.access, service))
                for service in services.prefetch_related("roles")
            }
        )


class ServiceView(HubAPIView):
    """One service."""

    scopes: ClassVar = {
        "GET": READ,
        "POST": "admin:services",
        "DELETE": "admin:services",
    }
    serializer_classes: ClassVar = {"POST": ServiceBodySerializer}

    def get_permission_object(self) -> Target:
        return Target(service=self.kwargs["name"])

    def find(self) -> Service | None:
        return Service.objects.filter(name=self.kwargs["name"]).first()

    @extend_schema(summary="Return a service", responses=ServiceSerializer)
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        service = self.find()
        if service is None:
            raise NotFound(f"No such service: {name}")
        return Response(service_json(service, visible(request.access, service)))

    @extend_schema(
        summary="Create a service",
        responses={201: ServiceSerializer, 409: ErrorSerializer},
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        fields = self.read_body()
        secret = fields.pop("api_token", "")
        refuse_taken(name)
        service = create_service(
            name,
            by=request.actor,
            access=request.access,
            api_token=secret,
            **fields,
        )
        publish_service(service)
        return Response(service_json(service, visible(request.access, service)), 201)

    @extend_schema(
        summary="Delete a service", responses={200: None, 405: ErrorSerializer}
    )
    def delete(self, request: APIRequest, name: str) -> HttpResponse:
        service = self.find()
        if service is None:
            raise NotFound(f"Service {name} does not exist")
        if service.from_config:
            # JupyterHub's status for services of the configuration.
            return error(405, f"Service {name} is not modifiable at runtime")
        delete_service(service, by=request.actor)
        withdraw_service(service)
        return empty(200)


def visible(access: Access, service: Service) -> frozenset[str]:
    """Return the keys of a service that are visible with this access."""
    return access.visible("service", service)


urlpatterns = [
    path("services", ServicesView.as_view()),
    path("services/<name:name>", ServiceView.as_view()),
]
