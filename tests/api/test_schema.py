"""The OpenAPI description is complete, valid and public."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern, get_resolver
from drf_spectacular.validation import validate_schema

from api.base import HubAPIView, UnknownView
from api.openapi.oauth2 import OAUTH2
from api.openapi.schema import description
from tests.conftest import API


def methods_and_addresses() -> set[str]:
    """Return all that the API answers to, as in `GET /users/{name}`."""
    found = set()
    for pattern in get_resolver("api.urls").url_patterns:
        assert isinstance(pattern, URLPattern)
        view: Any = getattr(pattern.callback, "view_class", None)
        if view is None or issubclass(view, UnknownView):
            continue
        assert issubclass(view, HubAPIView)
        route = str(pattern.pattern).replace("<name:", "{").replace(">", "}")
        found |= {f"{method} /{route}" for method in view.scopes}
    return found


def test_every_method_of_every_address_is_described() -> None:
    paths = description()["paths"]
    described = {
        f"{method.upper()} {path.removeprefix(API)}"
        for path, operations in paths.items()
        for method in operations
    }
    beside = {
        f"{method.upper()} {path}"
        for path, methods in OAUTH2.items()
        for method in methods
    }
    assert beside == {
        *("GET /oauth2/authorize", "POST /oauth2/authorize", "POST /oauth2/token"),
        *("POST /oauth2/introspect", "POST /oauth2/revoke"),
        "POST /oauth2/device_authorization",
    }
    assert described == methods_and_addresses() | beside


def test_every_operation_has_a_summary_and_describes_its_responses() -> None:
    for path, operations in description()["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), f"{method} {path}"
            assert all(each["description"] for each in operation["responses"].values())


def test_bodies_are_those_of_the_serializers() -> None:
    paths = description()["paths"]
    removal = paths[f"{API}/groups/{{name}}/users"]["delete"]["requestBody"]

    assert removal["required"]
    assert removal["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/RemovedMembers"
    }


def test_only_get_has_the_parameters_of_a_list() -> None:
    users = description()["paths"][f"{API}/users"]
    names = {parameter["name"] for parameter in users["get"]["parameters"]}

    assert names == {
        *("sort", "state", "name_filter", "include_stopped_servers"),
        *("offset", "limit"),
    }
    assert "parameters" not in users["post"]


def test_the_description_is_valid() -> None:
    validate_schema(description())


def test_every_shape_is_used_and_every_use_is_a_shape() -> None:
    text = str(description())
    shapes = set(description()["components"]["schemas"])

    assert {name for name in shapes if f"schemas/{name}'" in text} == shapes
    used = {part.partition("'")[0] for part in text.split("#/components/schemas/")[1:]}
    assert used == shapes


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for operations in description()["paths"].values()
        for operation in operations.values()
    ]

    assert len(names) == len(set(names))


def test_descriptions_name_the_scopes() -> None:
    operation = description()["paths"][f"{API}/users/{{name}}"]["delete"]

    assert "`delete:users`" in operation["description"]
    assert operation["responses"].keys() >= {"204", "403", "404"}


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_anybody_may_read_it(client: Client, form: str) -> None:
    response = client.get(f"{API}/openapi.{form}")

    assert response.status_code == 200
    assert response["Content-Type"] == f"application/{form}"
    assert yaml.safe_load(response.content) == description()


@pytest.mark.django_db
def test_the_explorer_reads_it_from_the_hub(client: Client) -> None:
    page = client.get(f"{API}/docs/").content.decode()
    script = client.get(f"{API}/docs/?script=").content.decode()

    assert f"{API}/openapi.json" in page + script
    assert "https://" not in page
