"""Base classes of serializers that check and describe request bodies.

They raise `Invalid` with one sentence, because an error of the API has one message.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from accounts.models import NAME_LENGTH
from accounts.naming import MOST_NAMED
from scopes.grammar import MAX_SCOPES
from scopes.refusals import Invalid
from web.bodies import SMALL

# The longest body in bytes of a call, unless the call states another. JupyterHub reads
# a body before it says what is wrong with the body, and clients match its messages.
USUAL = 2_046_000
# Most values in a body, counted by their separators. Parsing blocks all other threads,
# and takes a millisecond for ten thousand values or a megabyte of text.
USUAL_VALUES = 150_000
# The same in a body with scopes, of which there are at most `MAX_SCOPES`. A body with
# somewhat more is parsed, so that the answer names the limit of scopes.
VALUES_WITH_SCOPES = 10 * MAX_SCOPES
# The longest body with names, in bytes: the most and longest names.
LARGEST_WITH_NAMES = MOST_NAMED * NAME_LENGTH + SMALL


class Strict(serializers.Field):
    """A field that accepts values of one type only, and does not convert them."""

    kind: ClassVar[type]

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, **options})

    def run_validation(self, data: Any = None) -> Any:
        if not isinstance(data, self.kind) or (
            self.kind is int and isinstance(data, bool)
        ):
            noun = getattr(self.parent, "noun", "")
            raise Invalid(
                f"{noun}.{self.field_name} must be {self.kind}, not: {type(data)}"
            )
        return data


class Text(Strict, serializers.CharField):
    """Text."""

    kind = str


class Flag(Strict, serializers.BooleanField):
    """True or false."""

    kind = bool


class Number(Strict, serializers.IntegerField):
    """A whole number."""

    kind = int


class Names(Strict, serializers.ListField):
    """A list of names, checked by `check_names`."""

    child = serializers.CharField()
    kind = list


class Object(Strict, serializers.DictField):
    """An object with any keys."""

    kind = dict


class BodySerializer(serializers.Serializer[Any]):
    """A JSON object with known keys, each of one type; others are refused."""

    noun: ClassVar[str] = ""
    # Whether a request without a body is refused.
    is_required: ClassVar[bool] = True
    # Whether the OpenAPI description excludes further keys.
    is_closed: ClassVar[bool] = True
    # The longest body in bytes, and most values in it.
    largest: ClassVar[int] = USUAL
    most_values: ClassVar[int] = USUAL_VALUES

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the checked keys of a body, or raise `Invalid` with the reason."""
        if not isinstance(data, dict):
            raise Invalid(f"Invalid JSON data: {shortened(data)}; give an object.")
        fields = self.fields
        unknown = data.keys() - fields.keys()
        if unknown:
            raise Invalid(
                f"Invalid JSON keys: {shortened(', '.join(sorted(unknown)))}. "
                f"Known are {', '.join(fields)}."
            )
        return {key: fields[key].run_validation(data[key]) for key in data}


class OpenBodySerializer(BodySerializer):
    """A JSON object whose unknown keys are ignored, as in JupyterHub."""

    is_closed = False
    message: ClassVar[str] = "Body must be a JSON object"

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the body if it is an object; any empty value counts as an object."""
        data = data or {}
        if not isinstance(data, dict):
            raise Invalid(self.message)
        return data


def check_names(names: list[Any], what: str) -> list[str]:
    """Return a list of names if all are text, otherwise refuse the list."""
    for name in names:
        if not isinstance(name, str):
            raise Invalid(f"{what} must be a list of strings, not: {shortened(name)}")
    return names


def shortened(value: Any) -> str:
    """Return a value as text that fits into a message."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
