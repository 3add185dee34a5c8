"""Shares and share codes in the API.

The same shares are listed at three addresses: for the server's owner, for the user and
for the group with whom it is shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db.models import Model, Q, QuerySet
from django.http import HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.response import Response

from accounts.models import Group, User
from api.base import APIRequest, HubAPIView, empty
from api.bodies import (
    VALUES_WITH_SCOPES,
    BodySerializer,
    Names,
    Number,
    Text,
    check_names,
)
from api.groups import require_group
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.serializers import (
    IssuedShareCodeSerializer,
    ShareCodeSerializer,
    ShareSerializer,
)
from api.servers import default_server
from api.users import require_user
from scopes.access import Target
from scopes.grammar import LARGEST_WITH_SCOPES, check_number
from scopes.refusals import Invalid, NotFound
from servers.models import Server, Share, ShareCode
from servers.rights import server_target, user_target
from sharing.actions import (
    CODE_LIFETIME,
    find_recipient,
    find_share_code,
    grant_share,
    issue_share_code,
    revoke_share,
    revoke_share_codes,
    revoke_shares,
)
from web.hosts import public_url, user_origin

M = TypeVar("M", bound=Model)

WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")


class ShareBodySerializer(BodySerializer):
    """The recipient and the scopes of a share."""

    noun = "share"
    largest = LARGEST_WITH_SCOPES
    most_values = VALUES_WITH_SCOPES

    user = Text()
    group = Text()
    scopes = Names()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return `kind` and `name` of the recipient, and `scopes`."""
        checked = super().run_validation(without_nulls(data, *self.fields))
        # As in JupyterHub, an empty name is none.
        given = [kind for kind in ("user", "group") if checked.get(kind)]
        if len(given) != 1:
            raise Invalid("Specify exactly one of `user` and `group`")
        return {
            "kind": given[0],
            "name": checked[given[0]],
            "scopes": read_scopes(checked),
        }


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


def share_json(share: Share) -> dict[str, Any]:
    """Return a share as the API shows it."""
    return {
        "server": shared_server_json(share.server),
        "scopes": share.raw_scopes(),
        "user": {"name": share.user.name} if share.user else None,
        "group": {"name": share.group.name} if share.group else None,
        "kind": share.kind,
        "created_at": share.created_at,
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


def shared_server_json(server: Server) -> dict[str, Any]:
    """Return the few keys of a server that the recipients of a share see."""
    host, path = user_origin(server.user.name), server.path
    return {
        "user": {"name": server.user.name},
        "name": server.name,
        "url": f"{host}{path}",
        "full_url": (f"{host}{path}" if host else public_url(path)) or None,
        "ready": server.ready,
    }


def shares_for_wire() -> QuerySet[Share]:
    """Return all shares with the related rows for their JSON."""
    return Share.objects.select_related("server__user", "user", "group")


def codes_for_wire() -> QuerySet[ShareCode]:
    """Return all valid share codes with the related rows for their JSON."""
    return ShareCode.objects.active(timezone.now()).select_related("server__user")


class EnvelopedPagination(HubPagination):
    """Pages of lists that always have an envelope."""

    always_enveloped = True


def paged(
    request: APIRequest, rows: QuerySet[M], to_json: Callable[[M], dict[str, Any]]
) -> Response:
    """Return a response with one page of a list."""
    paginator = EnvelopedPagination()
    page = paginator.paginate_queryset(rows, request)
    return paginator.get_paginated_response([to_json(row) for row in page])


# A share without scopes is deleted, and the response is an empty object.
LEFT_OF_SHARE = {
    "oneOf": [
        {"$ref": "#/components/schemas/Share"},
        {"type": "object", "maxProperties": 0},
    ]
}


class OwnerSharesView(HubAPIView):
    """All shares of the servers of one user."""

    scopes: ClassVar = {"GET": "read:shares"}
    pagination_class = EnvelopedPagination

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["owner"])

    @extend_schema(
        summary="List the shares of all servers of a user",
        responses=ShareSerializer(many=True),
    )
    def get(self, request: APIRequest, owner: str) -> HttpResponse:
        shares = shares_for_wire().filter(server__user=require_user(owner))
        return paged(request, shares, share_json)


class ServerSharesView(HubAPIView):
    """The shares of one server."""

    scopes: ClassVar = {
        "GET": "read:shares",
        "POST": "shares",
        "PATCH": "shares",
        "DELETE": "shares",
    }
    serializer_classes: ClassVar = {
        "POST": ShareBodySerializer,
        "PATCH": ShareBodySerializer,
    }
    pagination_class = EnvelopedPagination

    def get_permission_object(self) -> Target:
        return server_target(self.kwargs["owner"], self.kwargs.get("server_name", ""))

    @extend_schema(
        summary="List the shares of a server", responses=ShareSerializer(many=True)
    )
    def get(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        server = require_server(owner, server_name)
        return paged(request, shares_for_wire().filter(server_id=server.pk), share_json)

    @extend_schema(
        summary="Share a server with a user or a group",
        responses={200: ShareSerializer},
    )
    def post(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        server = require_server(owner, server_name)
        body = self.read_body()
        share = grant_share(
            server,
            find_recipient(body["kind"], body["name"], request.access),
            scopes=body["scopes"],
            by=request.actor,
            access=request.access,
        )
        return Response(share_json(share))

    @extend_schema(summary="Remove scopes from a share", responses={200: LEFT_OF_SHARE})
    def patch(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        server = require_server(owner, server_name)
        body = self.read_body()
        share = (
            shares_for_wire()
            .filter(server_id=server.pk, **{f"{body['kind']}__name": body["name"]})
            .first()
        )
        if share is not None:
            share = revoke_share(share, scopes=body["scopes"], by=request.actor)
        return Response(share_json(share) if share else {})

    @extend_schema(summary="Revoke all shares of a server", responses={204: None})
    def delete(
        self, request: APIRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        revoke_shares(require_server(owner, server_name), by=request.actor)
        return empty()


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


class UserSharedView(HubAPIView):
    """The shares with one user, directly or through a group."""

    scopes: ClassVar = {"GET": "read:users:shares"}
    pagination_class = EnvelopedPagination

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    @extend_schema(
        summary="List the shares with a user", responses=ShareSerializer(many=True)
    )
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        user = require_user(name)
        mine = Q(user=user) | Q(group__in=user.groups.values("pk"))
        return paged(request, shares_for_wire().filter(mine), share_json)


class SharedServerView(HubAPIView):
    """One server that is shared with a user or group, to view or to leave."""

    kind: ClassVar[str]

    def recipient(self, name: str) -> User | Group:
        """Return the user or group of the address, or raise `NotFound`."""
        raise NotImplementedError

    def find(self, name: str, owner: str, server_name: str) -> Share:
        shares = shares_for_wire().filter(
            server__user__name=owner, server__name=server_name
        )
        share = shares.filter(**{self.kind: self.recipient(name)}).first()
        if share is None:
            raise NotFound(
                f"No such share for {self.kind} {name} on {owner}/{server_name}"
            )
        return share

    @extend_schema(summary="Return a share", responses=ShareSerializer)
    def get(
        self, request: APIRequest, name: str, owner: str, server_name: str = ""
    ) -> HttpResponse:
        return Response(share_json(self.find(name, owner, server_name)))

    @extend_schema(summary="Leave a share", responses={204: None})
    def delete(
        self, request: APIRequest, name: str, owner: str, server_name: str = ""
    ) -> HttpResponse:
        revoke_share(self.find(name, owner, server_name), by=request.actor)
        return empty()


class UserSharedServerView(SharedServerView):
    """One server as it is shared with one user."""

    scopes: ClassVar = {"GET": "read:users:shares", "DELETE": "users:shares"}
    kind = "user"

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    def recipient(self, name: str) -> User:
        return require_user(name)


class GroupSharedView(HubAPIView):
    """The shares with one group."""

    scopes: ClassVar = {"GET": "read:groups:shares"}
    pagination_class = EnvelopedPagination

    def get_permission_object(self) -> Target:
        return Target(group=self.kwargs["name"])

    @extend_schema(
        summary="List the shares with a group", responses=ShareSerializer(many=True)
    )
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        shares = shares_for_wire().filter(group=require_group(name))
        return paged(request, shares, share_json)


class GroupSharedServerView(SharedServerView):
    """One server as it is shared with one group."""

    scopes: ClassVar = {"GET": "read:groups:shares", "DELETE": "groups:shares"}
    kind = "group"

    def get_permission_object(self) -> Target:
        return Target(group=self.kwargs["name"])

    def recipient(self, name: str) -> Group:
        return require_group(name)


def require_server(owner: str, name: str) -> Server:
    """Return a server with its owner or raise `NotFound`.

    A default server that was never used has no row yet.
    """
    server = (
        Server.objects.filter(user__name=owner, name=name)
        .select_related("user")
        .first()
    )
    if server is not None:
        return server
    user = None if name else User.objects.filter(name=owner).first()
    if user is None:
        raise NotFound(f"No such server: {owner}/{name}")
    return default_server(user)


def read_scopes(fields: dict[str, Any]) -> list[str] | None:
    """Return the list of scopes in a body; an empty list counts as none."""
    scopes = check_names(fields.get("scopes", []), "scopes")
    check_number(scopes, holder="share")
    return scopes or None


def without_nulls(body: Any, *optional: str) -> Any:
    """Remove optional keys with null from a body."""
    if not isinstance(body, dict):
        return body
    return {
        key: value
        for key, value in body.items()
        if value is not None or key not in optional
    }


def _with_default(prefix: str, view: type[HubAPIView]) -> list[URLPattern]:
    """Return routes of an owner's servers; an empty name is the default server's."""
    return [
        path(f"{prefix}/<name:owner>/", view.as_view()),
        path(f"{prefix}/<name:owner>/<name:server_name>", view.as_view()),
    ]


urlpatterns = [
    path("shares/<name:owner>", OwnerSharesView.as_view()),
    *_with_default("shares", ServerSharesView),
    path("share-codes/<name:owner>", OwnerCodesView.as_view()),
    *_with_default("share-codes", ServerCodesView),
    path("users/<name:name>/shared", UserSharedView.as_view()),
    *_with_default("users/<name:name>/shared", UserSharedServerView),
    path("groups/<name:name>/shared", GroupSharedView.as_view()),
    *_with_default("groups/<name:name>/shared", GroupSharedServerView),
]
