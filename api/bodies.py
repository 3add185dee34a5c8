"""Declarations of request bodies, for checks and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scopes.refusals import Invalid

TYPE_SCHEMAS: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    list: {"type": "array", "items": {"type": "string"}},
    dict: {"type": "object"},
    dict | None: {"type": "object", "nullable": True},
}


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON object with known keys of one type each; other keys are refused."""

    noun: str
    keys: Mapping[str, Any]
    required: tuple[str, ...] = ()

    def check(self, data: Any) -> dict[str, Any]:
        """Return `data` if it is such an object, else raise an error."""
        if not isinstance(data, dict):
            raise Invalid(f"Invalid JSON data: {_shortened(data)}; give an object.")
        unknown = data.keys() - self.keys.keys()
        if unknown:
            raise Invalid(
                f"Invalid JSON keys: {_shortened(', '.join(sorted(unknown)))}. "
                f"Known are {', '.join(self.keys)}."
            )
        for key, value in data.items():
            wanted = self.keys[key]
            if not isinstance(value, wanted) or (
                wanted is int and isinstance(value, bool)
            ):
                raise Invalid(f"{self.noun}.{key} must be {wanted}, not: {type(value)}")
        return data

    def schema(self) -> dict[str, Any]:
        """Return the object's schema for OpenAPI."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {key: TYPE_SCHEMAS[kind] for key, kind in self.keys.items()},
            "additionalProperties": False,
        }
        if self.required:
            schema["required"] = list(self.required)
        return schema


def check_names(names: list[Any], what: str) -> list[str]:
    """Return a list of names if all are text, else refuse it."""
    for name in names:
        if not isinstance(name, str):
            raise Invalid(f"{what} must be a list of strings, not: {_shortened(name)}")
    return names


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
