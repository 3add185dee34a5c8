"""Helpers to describe the API's input and output.

Views contain no descriptions. The table, which `operations.py` fills, has them for each
method of each address; `schema.py` converts them to OpenAPI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

Schema = Mapping[str, Any]


def ref(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(name: str) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": ref(name)}


def paged(items: Schema) -> Schema:
    """Return the schema of a page of a list in its envelope."""
    return {
        "type": "object",
        "required": ["items", "_pagination"],
        "properties": {"items": items, "_pagination": ref("Pagination")},
    }


def query(name: str, description: str, **schema: Any) -> Schema:
    """Return a query parameter; its type is text unless `schema` overrides it."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "string", **schema},
    }


@dataclass(frozen=True, slots=True)
class Operation:
    """The input and output of one method of one address.

    `answers` maps a status to the schema of its body, or None if there is none.
    """

    summary: str
    answers: Mapping[int, Schema | None]
    query: tuple[Schema, ...] = ()
    refusals: tuple[int, ...] = ()
    deprecated: bool = False
    media_type: str = "application/json"


@dataclass(slots=True)
class Table:
    """All operations by method and address, as in `GET /users/{name}`."""

    operations: dict[str, Operation] = field(default_factory=dict)
    # Complete OpenAPI descriptions of addresses of other rooms, by address and method.
    beside: dict[str, dict[str, Schema]] = field(default_factory=dict)

    def find(self, method: str, path: str) -> Operation | None:
        prefix = f"{settings.HUB_PATH}api"
        return self.operations.get(f"{method.upper()} {path.removeprefix(prefix)}")


table = Table()
