"""The schemas of the API's objects, for OpenAPI.

The visible keys of users, groups, services and servers depend on the caller's scopes,
so only those that everybody sees are required.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer"}
MOMENT = {"type": "string", "format": "date-time"}
NAMES = {"type": "array", "items": TEXT}
OBJECT = {"type": "object", "additionalProperties": True}
PENDING = {
    "type": "string",
    "enum": ["spawn", "stop", "check", "rename", None],
    "nullable": True,
}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "nullable": True}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        shape["required"] = list(required)
    return shape


def _all(**properties: Any) -> dict[str, Any]:
    return _object(tuple(properties), **properties)


NAMED = _all(name=TEXT)

SERVER = {
    "name": TEXT,
    "display_name": _or_null(TEXT),
    "full_name": TEXT,
    "last_activity": _or_null(MOMENT),
    "started": _or_null(MOMENT),
    "pending": PENDING,
    "ready": FLAG,
    "stopped": FLAG,
    "url": TEXT,
    "user_options": _or_null(OBJECT),
    "progress_url": TEXT,
    "full_url": _or_null(TEXT),
    "full_progress_url": _or_null(TEXT),
}

USER = {
    "kind": {"type": "string", "enum": ["user"]},
    "name": TEXT,
    "admin": FLAG,
    "user_info": _or_null(OBJECT),
    "roles": NAMES,
    "groups": NAMES,
    "server": _or_null(TEXT),
    "pending": PENDING,
    "created": MOMENT,
    "last_activity": _or_null(MOMENT),
    "servers": {"type": "object", "additionalProperties": _ref("Server")},
    "auth_state": _or_null(OBJECT),
}

SERVICE = {
    "kind": {"type": "string", "enum": ["service"]},
    "name": TEXT,
    "admin": FLAG,
    "url": _or_null(TEXT),
    "prefix": TEXT,
    "command": NAMES,
    "pid": COUNT,
    "info": _or_null(OBJECT),
    "display": _or_null(FLAG),
    "roles": NAMES,
}

TOKEN = {
    "id": TEXT,
    "kind": {"type": "string", "enum": ["api_token"]},
    "roles": NAMES,
    "scopes": NAMES,
    "created": MOMENT,
    "last_activity": _or_null(MOMENT),
    "expires_at": _or_null(MOMENT),
    "note": TEXT,
    "session_id": _or_null(TEXT),
    "oauth_client": TEXT,
}

SHARED_SERVER = _all(
    user=NAMED, name=TEXT, url=TEXT, full_url=_or_null(TEXT), ready=FLAG
)

SHARE_CODE = {
    "server": SHARED_SERVER,
    "scopes": NAMES,
    "id": TEXT,
    "created_at": MOMENT,
    "expires_at": MOMENT,
    "exchange_count": COUNT,
    "last_exchanged_at": _or_null(MOMENT),
}

CALLER = {
    "token_id": _or_null(TEXT),
    "session_id": _or_null(TEXT),
    "scopes": NAMES,
}

SHAPES: Mapping[str, dict[str, Any]] = {
    "Error": _all(status=COUNT, message=_or_null(TEXT)),
    "Pagination": _all(
        offset=COUNT,
        limit=COUNT,
        total=COUNT,
        next=_or_null(_all(offset=COUNT, limit=COUNT, url=TEXT)),
    ),
    "User": _object(("kind", "name"), **USER),
    "Server": _object(tuple(SERVER), **SERVER, state={**OBJECT, "nullable": True}),
    "Group": _object(
        ("kind", "name"),
        kind={"type": "string", "enum": ["group"]},
        name=TEXT,
        users=NAMES,
        properties=OBJECT,
        roles=NAMES,
    ),
    "Service": _object(("kind", "name"), **SERVICE),
    "Caller": {
        "oneOf": [
            _object(("kind", "name", *CALLER), **USER, **CALLER),
            _object(("kind", "name", *CALLER), **SERVICE, **CALLER),
        ]
    },
    "Token": _object(tuple(TOKEN), **TOKEN, user=TEXT, service=TEXT),
    "NewToken": _object(
        (*TOKEN, "token"), **TOKEN, user=TEXT, service=TEXT, token=TEXT
    ),
    "Share": _all(
        server=SHARED_SERVER,
        scopes=NAMES,
        user=_or_null(NAMED),
        group=_or_null(NAMED),
        kind={"type": "string", "enum": ["user", "group"]},
        created_at=MOMENT,
    ),
    "ShareCode": _all(**SHARE_CODE),
    "NewShareCode": _all(
        **SHARE_CODE, code=TEXT, accept_url=TEXT, full_accept_url=_or_null(TEXT)
    ),
    "Component": _all(**{"class": TEXT, "version": TEXT}),
    "Route": _object(
        ("routespec", "target", "data"), routespec=TEXT, target=TEXT, data=OBJECT
    ),
}
