"""What request bodies may hold: serializers check them and describe them.

They raise `Invalid` with one sentence, because the wire's errors hold one message.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from scopes.refusals import Invalid


class Strict(serializers.Field):
    """A field that takes values of one type as they are, and no others."""

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
    """A list of names, which `check_names` looks at."""

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
    # Whether the description says that there are no further keys.
    is_closed: ClassVar[bool] = True

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the keys that a body holds, or say what is wrong with it."""
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
    """A JSON object of which only what is known is read, as JupyterHub does."""

    is_closed = False
    message: ClassVar[str] = "Body must be a JSON object"

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the body if it is an object; what is empty is one, whatever it is."""
        data = data or {}
        if not isinstance(data, dict):
            raise Invalid(self.message)
        return data


def check_names(names: list[Any], what: str) -> list[str]:
    """Return a list of names if all are text, else refuse it."""
    for name in names:
        if not isinstance(name, str):
            raise Invalid(f"{what} must be a list of strings, not: {shortened(name)}")
    return names


def shortened(value: Any) -> str:
    """Return a value as text that fits into a message."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
