"""Start options as JSON: the bytes of uploaded files are tagged."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

TAG: Final = "__jupyterhub_bytes__"


def pack(value: Any) -> Any:
    """Return a value in a form for JSON; a value of any other type becomes null."""
    if isinstance(value, bytes):
        return {TAG: True, "data": base64.encodebytes(value).decode("ascii")}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): pack(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [pack(each) for each in value]
    return None


def unpack(value: Any) -> Any:
    """Return the value that `pack` was given."""
    if isinstance(value, Mapping):
        if value.get(TAG):
            try:
                return base64.decodebytes(value["data"].encode("ascii"))
            except (KeyError, AttributeError, ValueError, binascii.Error):
                return None
        return {key: unpack(each) for key, each in value.items()}
    if isinstance(value, list):
        return [unpack(each) for each in value]
    return value


def form_data(
    fields: Mapping[str, Sequence[str]],
    files: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> dict[str, list[Any]]:
    """Return a form as spawners expect it: lists, and files as `<field>_file`.

    The body of a file is in base64, because it was sent as JSON.
    """
    data: dict[str, list[Any]] = {key: list(values) for key, values in fields.items()}
    for key, uploads in (files or {}).items():
        data[f"{key}_file"] = [
            {
                "filename": upload.get("filename", ""),
                "body": base64.b64decode(upload.get("body", "")),
                "content_type": upload.get("content_type", ""),
            }
            for upload in uploads
        ]
    return data
