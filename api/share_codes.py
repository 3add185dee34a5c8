"""Share codes in the API."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.response import Response

from api.base import APIRequest, HubAPIView, empty
from api.bodies import VALUES_WITH_SCOPES, BodySerializer, Names, Number
from api.openapi.decorators import extend_schema
from api.serializers import IssuedShareCodeSerializer, ShareCodeSerializer
from api.shares import (
    EnvelopedPagination,
    paged,
    read_scopes,
    require_server,
    shared_server_json,
    with_default,
    without_nulls,
)
from api.users import require_user
from scopes.access import Target
from scopes.grammar import LARGEST_WITH_SCOPES
from scopes.refusals import NotFound
from servers.models import ShareCode
from servers.rights import server_target, user_target
from sharing.actions import (
    CODE_LIFETIME,
    find_share_code,
    issue_share_code,
    revoke_share_codes,
)
from web.hosts import public_url

WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")


class CodeBodySerializer(BodySerializer):
    """The lifetime and the scopes of a share code."""

    noun = "share code"
    is_required = False
    largest = LARGEST_WITH_SCOPES
    most_values = VALUES_WITH_SCOPES

    expires_in = Number()
    scopes = Names()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        body = without_nulls(data or {}, "scopes")
        lifetime = body.get("expires_in") if isinstance(body, dict) else None
        if isinstance(lifetime, str) and WHOLE_NUMBER.fullmatch(lifetime):
            body["expires_in"] = int(lifetime)
        checked = super().run_validation(body)
        return {
            "expires_in": checked.get("expires_in", CODE_LIFETIME),
            "scopes": read_scopes(checked),
        }


def code_json(invitation: ShareCode) -> dict[str, Any]:
    """Return a share code as the API shows it, without the code."""
    return {
        "server": shared_server_json(invitation.server),
        "scopes": invitation.raw_scopes(),
        "id": str(invitation),
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
        "exchange_count": invitation.exchange_count,
        "last_exchanged_at": invitation.last_exchanged_at,
    }


def issued_json(invitation: ShareCode, code: str) -> dict[str, Any]:
    """Return a new share code with its code, which is shown only once."""
    accept = f"{settings.HUB.base_url}hub/accept-share?code={code}"
    return {
        **code_json(invitation),
        "code": code,
        "accept_url": accept,
        "full_accept_url": public_url(accept) or None,
    }


def codes_for_wire() -> QuerySet[ShareCode]:
    """Return all valid share codes with the related rows for their JSON."""
    return ShareCode.objects.active(timezone.now()).select_related("server__user")


class OwnerCodesView(HubAPIView):
    """All share codes of the servers of one user."""

    scopes: ClassVar = {"GET": "read:shares"}
    pagination_class = EnvelopedPagination

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["owner"])

    @extend_schema(
        summary="List the share codes of all servers of a user",
        responses=ShareCodeSerializer(many=True),
    )
    def get(self, request: APIRequest, owner: str) -> HttpResponse:
        codes = codes_for_wire().filter(server__user=require_user(owner))
        return paged(request, codes, code_json)


class ServerCodesView(HubAPIView):
    """The share codes of one server."""

    scopes: ClassVar = {"GET": "read:shares", "POST": "shares", "DELETE": "shares"}
    serializer_classes: ClassVar = {"POST": CodeBodySerializer}
    pagination_class = EnvelopedPagination

    def get_permission_object(self) -> Target:
        return server_target(self.kwargs["owner"], self.kwargs.get("server_name", ""))

    @extend_schema(
        summary="List the share codes of a server",
        responses=ShareCodeSerializer(many=True),
    )
    def get(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        server = require_server(owner, server_name)
        return paged(request, codes_for_wire().filter(server_id=server.pk), code_json)

    @extend_schema(
        summary="Issue a share code", responses={200: IssuedShareCodeSerializer}
    )
    def post(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        server = require_server(owner, server_name)
        invitation, code = issue_share_code(
            server, **self.read_body(), by=request.actor, access=request.access
        )
        return Response(issued_json(invitation, code))

    @extend_schema(
        summary="Revoke one share code, or all of them",
        parameters=[
            OpenApiParameter("id", description="The id of the code."),
            OpenApiParameter("code", description="The code itself."),
        ],
        responses={204: None},
    )
    def delete(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        server = require_server(owner, server_name)
        if wanted := request.query_params.get("id"):
            number = wanted.removeprefix("sc_")
            known = wanted.startswith("sc_") and number.isdecimal() and len(number) < 19
            ids = [int(number)] if known else []
            missing = f"No code found matching id={wanted}"
        elif code := request.query_params.get("code"):
            found = find_share_code(code, timezone.now())
            ids = [found.pk] if found else []
            missing = "No matching code found"
        else:
            revoke_share_codes(server, None, by=request.actor)
            return empty()
        if not revoke_share_codes(server, ids, by=request.actor):
            raise NotFound(missing)
        return empty()


urlpatterns = [
    path("share-codes/<name:owner>", OwnerCodesView.as_view()),
    *with_default("share-codes", ServerCodesView),
]
