"""The URL converter of names: `users/<name:name>`."""

from __future__ import annotations

from django.urls import register_converter
from django.urls.converters import StringConverter

from web.paths import ENCODED_SLASH


class NameConverter(StringConverter):
    """A name in an address, which may contain encoded slashes."""

    def to_python(self, value: str) -> str:
        if "\0" in value:
            # No database stores this character, so no name contains it.
            raise ValueError(value)
        return value.replace(ENCODED_SLASH, "/")

    def to_url(self, value: str) -> str:
        return value.replace("/", ENCODED_SLASH)


register_converter(NameConverter, "name")
