"""The caller's identity: the first request of every client, and the most frequent.

All data for the response comes from the one query that verifies the token. The response
is cached with the bearer as long as that row stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import orjson
from django.db import connection
from django.http import HttpResponse
from django.urls import path

from api.base import APIRequest, HubAPIView
from api.jsontext import dialect
from api.openapi.decorators import extend_schema
from api.permissions import IsAuthenticated
from api.renderers import json_response
from api.serializers import CALLER
from api.services import prefix
from api.user_json import COLUMNS, GROUPS, UserWriter, columns, select
from scopes.access import Access, Identity, Target, identify
from tokens import activity
from tokens.verification import Bearer

LAST_ACTIVITY = COLUMNS.index("last_activity")
SERVICE_KEYS = ("admin", "url", "command", "pid", "info", "display", "roles")


def facts(kind: str, vendor: str) -> Mapping[str, str]:
    """Return the columns of a token's owner that are read at its verification."""
    if kind == "user":
        return dict(zip((*COLUMNS, "servers"), columns(vendor), strict=True))
    sql = dialect(vendor)
    return {
        "name": sql.string("s.name"),
        "admin": sql.boolean("s.admin"),
        "url": sql.string("s.url"),
        "command": sql.value("s.command", "[]"),
        "pid": "CAST(s.pid AS text)",
        "info": sql.value("s.info"),
        "display": sql.boolean("s.display"),
        "roles": sql.strings(
            "r.name",
            "services_service_roles sr JOIN accounts_role r ON r.id = sr.role_id "
            "WHERE sr.service_id = s.id",
        ),
    }


class WhoAmIView(HubAPIView):
    """The caller: a user or a service, the token, and its rights."""

    scopes: ClassVar = {"GET": IsAuthenticated}

    @extend_schema(summary="Return the caller", responses=CALLER)
    def get(self, request: APIRequest) -> HttpResponse:
        if request.auth is None:
            return json_response(text_of_session(request))
        return json_response(text_of_bearer(request.auth))


def text_of_bearer(bearer: Bearer) -> str:
    """Return the response for the owner of a token."""
    seen = activity.users.noted.get(bearer.owner_id)
    kept = bearer.memo.get(WhoAmIView)
    if kept is not None and kept[0] == seen:
        return kept[1]
    model = user_model if bearer.owner_kind == "user" else service_model
    text = _extended(
        model(bearer, seen), f'"a{bearer.token_id}"', bearer.session_id, bearer.access
    )
    bearer.memo[WhoAmIView] = seen, text
    return text


def text_of_session(request: APIRequest) -> str:
    """Return the response for a signed-in user."""
    activity.flush()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {select(False)} FROM accounts_user u WHERE u.id = %s",  # noqa: S608
            [request.user.pk],
        )
        row = cursor.fetchone()
    return _extended(_user_text(request.access, row), "null", None, request.access)


def user_model(bearer: Bearer, seen: float | None) -> str:
    """Return the user's own JSON, limited by the token's scopes."""
    known = bearer.facts
    row = [known[key] for key in (*COLUMNS, "servers")]
    if seen is not None:
        # This request is the last activity, even if that is not written yet.
        noted = datetime.fromtimestamp(seen, UTC).isoformat(timespec="microseconds")
        moment = f'"{noted.removesuffix("+00:00")}Z"'
        if row[LAST_ACTIVITY] == "null" or row[LAST_ACTIVITY] < moment:
            row[LAST_ACTIVITY] = moment
    return _user_text(bearer.access, tuple(row))


def service_model(bearer: Bearer, seen: float | None) -> str:
    """Return the service's own JSON, from its row."""
    identity = Identity("service", bearer.owner_name, frozenset())
    access = bearer.access.joined(identify(identity))
    keys = access.visible("service", Target(service=bearer.owner_name))
    known: dict[str, Any] = bearer.facts
    known["kind"] = '"service"'
    known["prefix"] = (
        '""'
        if known["url"] in ("null", '""')
        else orjson.dumps(prefix(bearer.owner_name)).decode()
    )
    shown = ("kind", "name", "prefix", *SERVICE_KEYS)
    members = ",".join(f'"{key}":{known[key]}' for key in shown if key in keys)
    return f"{{{members}}}"


def _user_text(access: Access, row: tuple[Any, ...]) -> str:
    name, groups = orjson.loads(row[0]), orjson.loads(row[GROUPS])
    identity = Identity("user", name, frozenset(groups))
    return UserWriter(access.joined(identify(identity)), False).write_one(row)


def _extended(model: str, token_id: str, session_id: str | None, access: Access) -> str:
    session = orjson.dumps(session_id).decode()
    scopes = orjson.dumps(sorted(access.scopes)).decode()
    return (
        f'{model[:-1]},"token_id":{token_id},"session_id":{session},"scopes":{scopes}}}'
    )


urlpatterns = [path("user", WhoAmIView.as_view(), name="user-self")]
