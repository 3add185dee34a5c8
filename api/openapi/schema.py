"""The OpenAPI description of every address.

Views state a summary, parameters and responses with `extend_schema`. This module adds
what follows from a view: the body of each method, the scopes, the common refusals, and
the names in the address.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from django.conf import settings
from django.urls import get_resolver
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from drf_spectacular.utils import Direction, OpenApiParameter

from api.base import METHODS, UnknownView
from api.bodies import BodySerializer
from api.checks import views_below
from api.openapi.decorators import apply_descriptions
from api.openapi.oauth2 import OAUTH2
from api.permissions import AllowAny
from api.serializers import ErrorSerializer, PaginationSerializer

STATUSES = {
    200: "Done.",
    201: "Done.",
    202: "Accepted; the operation continues after the response.",
    204: "Done.",
    400: "The request is invalid; the message says why.",
    403: "The credential is missing or invalid, or lacks a scope.",
    404: "There is no such object, or the scopes do not reach it.",
    405: "The object can't be changed while the hub runs.",
    409: "The object exists already, or has been changed meanwhile.",
    413: "The body is larger than this call reads.",
    429: "A limit is reached; try again later.",
    500: "The operation has failed; the message says why.",
    503: "Another program that is needed does not respond; try again later.",
}
# The groups of operations by the first part of their address.
TAGS = {
    "users": "users",
    "groups": "groups",
    "services": "services",
    "shares": "shares",
    "tokens": "tokens",
    "share-codes": "shares",
    "authorizations": "older",
    "batchspawner": "servers",
}
# These parts of an address decide its group before the first one does.
NOUNS = {
    "tokens": "tokens",
    "servers": "servers",
    "server": "servers",
    "shared": "shares",
}


class ObjectsByNameExtension(OpenApiSerializerExtension):
    """Describes an object whose keys are names."""

    target_class = "api.serializers.ObjectsByName"
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str | None:
        name: str = self.target.component_name
        return name

    def map_serializer(
        self, auto_schema: AutoSchema, direction: Direction
    ) -> dict[str, Any]:
        child = auto_schema.resolve_serializer(self.target.child, direction)
        return {"type": "object", "additionalProperties": child.ref}


class HubSchema(AutoSchema):
    """Describes one method of a view, with the data that the view implies."""

    view: Any

    def is_excluded(self) -> bool:
        return isinstance(self.view, UnknownView)

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: ComponentRegistry,
    ) -> dict[str, Any] | None:
        if method.upper() != "GET":
            # Only GET returns pages of a list, and filters them.
            self.view.pagination_class = None
        operation = super().get_operation(
            path, path_regex, path_prefix, method, registry
        )
        if operation is None:
            return None
        body = self.view.serializer_classes.get(self.method)
        if body is not None:
            operation["requestBody"] = {
                "description": f"JSON of at most {body.largest:,} bytes.",
                "required": body.is_required,
                "content": {"application/json": {"schema": self.body_schema(body)}},
            }
        self.resolve_serializer(PaginationSerializer, "response")
        refusal = {
            "application/json": {
                "schema": self.resolve_serializer(ErrorSerializer, "response").ref
            }
        }
        responses = operation["responses"]
        for status in self.common_refusals(operation):
            responses.setdefault(str(status), {"content": refusal})
        for status, response in responses.items():
            response["description"] = STATUSES[int(status)]
        operation["responses"] = dict(sorted(responses.items()))
        return operation

    def common_refusals(self, operation: dict[str, Any]) -> Iterator[int]:
        """Yield the refusals that follow from the parts of a request."""
        places = {parameter["in"] for parameter in operation.get("parameters", ())}
        if "requestBody" in operation:
            yield 413
        if "requestBody" in operation or "query" in places:
            yield 400
        if self.needed_scopes is not AllowAny:
            yield 403
        if "path" in places:
            yield 404

    @property
    def needed_scopes(self) -> Any:
        """The scopes of which the method needs one, or a permission class."""
        needed = self.view.scopes[self.method]
        return (needed,) if isinstance(needed, str) else needed

    def body_schema(self, body: type[BodySerializer]) -> Any:
        """Return the schema of a serializer for bodies."""
        component = self.resolve_serializer(body, "request")
        if not component:
            # Any keys are accepted.
            return {"type": "object", "additionalProperties": True}
        if body.is_closed:
            component.schema["additionalProperties"] = False
        return component.ref

    def get_request_serializer(self) -> None:
        """Return nothing, because `get_operation` adds the body, also for DELETE."""

    def get_override_parameters(self) -> list[Any]:
        """Return the names in the address and, for a list, the parameters of a page."""
        parameters = [
            OpenApiParameter(part[1:-1], location=OpenApiParameter.PATH)
            for part in self.path.split("/")
            if part.startswith("{")
        ]
        if self.view.pagination_class is not None:
            parameters += [
                OpenApiParameter(
                    parameter["name"],
                    parameter["schema"],
                    description=parameter["description"],
                )
                for parameter in self.view.paginator.get_schema_operation_parameters(
                    self.view
                )
            ]
        return parameters

    def get_filter_backends(self) -> list[Any]:
        return super().get_filter_backends() if self.method == "GET" else []

    def get_operation_id(self) -> str:
        words = self.path.replace("{", "").replace("}", "").split("/")
        # An empty name at the end is the default server's.
        ending = ["default"] if self.path.endswith("/") and len(words) > 2 else []
        return "_".join([self.method.lower(), *filter(None, words), *ending]).replace(
            "-", "_"
        )

    def get_tags(self) -> list[str]:
        first, *rest = self.path.strip("/").split("/")
        for noun, tag in NOUNS.items():
            if noun in rest:
                return [tag]
        return [TAGS.get(first, "hub")]

    def get_description(self) -> str:  # type: ignore[override]
        needed = self.needed_scopes
        if not isinstance(needed, tuple):
            return ""
        quoted = [f"`{scope}`" for scope in needed]
        if len(quoted) == 1:
            return f"Needs scope {quoted[0]}."
        return f"Needs any of the scopes {', '.join(quoted)}."

    def get_auth(self) -> list[dict[str, Any]]:
        if self.needed_scopes is AllowAny:
            return [{}]
        return [{"token": []}, {"session": []}]


def without_marks(value: Any) -> Any:
    """Remove the marks with which drf-spectacular finds enumerations to name."""
    if isinstance(value, list):
        return [without_marks(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_marks(each)
        for key, each in value.items()
        if key != "x-spec-enum-id"
    }


@cache
def description() -> dict[str, Any]:
    """Return the description of the whole API, which is computed once."""
    views = set(views_below(get_resolver("api.urls").url_patterns))
    apply_descriptions(
        getattr(view, method)
        for view in views
        for method in METHODS
        if hasattr(view, method)
    )
    found: dict[str, Any] = SchemaGenerator(urlconf="api.urls").get_schema(
        request=None, public=True
    )
    found = without_marks(found)
    for address, methods in OAUTH2.items():
        found["paths"][f"{settings.HUB_PATH}api{address}"] = methods
    return found
