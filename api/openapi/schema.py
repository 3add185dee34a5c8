"""The OpenAPI description of every address.

drf-spectacular describes input and output from the serializers. This module adds the
data of the view (the scopes, the possible refusals and the names in the address), and
from the table in `operations.py` the texts that can't be derived.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry

from api.base import HubAPIView
from api.bodies import BodySerializer
from api.openapi import oauth2, operations  # noqa: F401  (fill the table)
from api.openapi.types import Operation, ref, table
from api.permissions import AllowAny
from api.serializers import SHAPES

REFUSALS = {
    400: "The request makes no sense as it stands; the message says why.",
    403: "Missing or invalid credentials, or a scope that is not held.",
    404: "There is no such thing, as far as the caller may know.",
    405: "This one can't be changed while the hub runs.",
    409: "It exists already, or has been changed meanwhile.",
    413: "The body is larger than this call reads.",
    429: "There is no room for it now; try again later.",
    500: "It was tried and failed; the message says why.",
    503: "What is needed for it does not answer; try again later.",
}


class HubSchema(AutoSchema):
    """Describes a method of a view from the table and from the view's scopes."""

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: ComponentRegistry,
    ) -> dict[str, Any] | None:
        operation = table.find(method, path)
        if operation is None or not isinstance(self.view, HubAPIView):
            return None
        self.registry, self.path, self.method = registry, path, method.upper()
        for shape in SHAPES:
            self.resolve_serializer(shape, "response")
        need = self.view.scopes[method.upper()]
        if isinstance(need, str):
            need = (need,)
        body = self.view.serializer_classes.get(method.upper())
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _names_in(path)
        ]
        described: dict[str, Any] = {
            "operationId": _identifier(method, path),
            "summary": operation.summary,
            "tags": [_subject(path)],
            "parameters": [*parameters, *operation.query],
            "responses": self.responses(operation, need, bool(parameters), body),
        }
        if isinstance(need, tuple):
            described["description"] = f"Needs {_either(need)}."
        if need is not AllowAny:
            described["security"] = [{"token": []}, {"session": []}]
        else:
            described["security"] = [{}]
        if body is not None:
            described["requestBody"] = {
                "description": f"JSON of at most {body.largest:,} bytes.",
                "required": body.is_required,
                "content": {"application/json": {"schema": self.body_schema(body)}},
            }
        if operation.deprecated:
            described["deprecated"] = True
        return described

    def body_schema(self, body: type[BodySerializer]) -> Any:
        """Return the schema of a serializer for bodies."""
        component = self.resolve_serializer(body, "request")
        if not component:
            # Any keys are accepted.
            return {"type": "object", "additionalProperties": True}
        if body.is_closed:
            component.schema["additionalProperties"] = False
        return component.ref

    @staticmethod
    def responses(
        operation: Operation, need: Any, names_something: bool, body: object
    ) -> dict[str, Any]:
        """Return all responses: the table's, and the refusals of every such method."""
        refusals = set(operation.refusals)
        if need is not AllowAny:
            refusals.add(403)
        if names_something:
            refusals.add(404)
        if body is not None:
            refusals.update((400, 413))
        if operation.query:
            refusals.add(400)
        answers: dict[str, Any] = {}
        for status, schema in operation.answers.items():
            done = "Accepted; it will be done." if status == 202 else "Done."
            answer: dict[str, Any] = {"description": done}
            if schema is not None:
                answer["content"] = {operation.media_type: {"schema": schema}}
            answers[str(status)] = answer
        for status in sorted(refusals):
            answers[str(status)] = {
                "description": REFUSALS[status],
                "content": {"application/json": {"schema": ref("Error")}},
            }
        return answers


def _names_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _identifier(method: str, path: str) -> str:
    prefix = f"{settings.HUB_PATH}api"
    words = path.removeprefix(prefix).replace("{", "").replace("}", "").split("/")
    # An empty name at the end is the default server's.
    ending = ["default"] if path.endswith("/") and len(words) > 2 else []
    return "_".join([method.lower(), *filter(None, words), *ending]).replace("-", "_")


def _subject(path: str) -> str:
    prefix = f"{settings.HUB_PATH}api"
    first, *rest = path.removeprefix(prefix).strip("/").split("/")
    for noun in ("tokens", "servers", "server", "shared"):
        if noun in rest:
            return {"server": "servers", "shared": "shares"}.get(noun, noun)
    known = {
        "share-codes": "shares",
        "user": "hub",
        "authorizations": "older",
        "batchspawner": "servers",
    }
    plural = ("users", "groups", "services", "shares", "tokens")
    return known.get(first, first if first in plural else "hub")


def _either(scopes: tuple[str, ...]) -> str:
    quoted = [f"`{scope}`" for scope in scopes]
    if len(quoted) == 1:
        return f"scope {quoted[0]}"
    return f"any of the scopes {', '.join(quoted)}"


def _without_marks(value: Any) -> Any:
    """Remove the marks with which drf-spectacular finds enumerations to name."""
    if isinstance(value, list):
        return [_without_marks(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_marks(each)
        for key, each in value.items()
        if key != "x-spec-enum-id"
    }


@cache
def description() -> dict[str, Any]:
    """Return the description of the whole API, which is computed once."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    prefix = f"{settings.HUB_PATH}api"
    found = _without_marks(found)
    for address, methods in table.beside.items():
        found["paths"][f"{prefix}{address}"] = methods
    return found
