"""Shares in the API.

The same shares are listed at three addresses: for the server's owner, for the user and
for the group with whom it is shared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import HttpResponse
from django.urls import URLPattern, path
from rest_framework.response import Response

from accounts.models import Group, User
from api.base import APIRequest, HubAPIView, empty
from api.bodies import VALUES_WITH_SCOPES, BodySerializer, Names, Text, check_names
from api.groups import require_group
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.serializers import ShareSerializer
from api.servers import default_server
from api.users import require_user
from scopes.access import Target
from scopes.grammar import LARGEST_WITH_SCOPES, check_number
from scopes.refusals import Invalid, NotFound
from servers.models import Server, Share
from servers.rights import server_target, user_target
from sharing.actions import find_recipient, grant_share, revoke_share, revoke_shares
from web.hosts import public_url, user_origin

M = TypeVar("M", bound=Model)


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


def with_default(prefix: str, view: type[HubAPIView]) -> list[URLPattern]:
    """Return routes of an owner's servers; an empty name is the default server's."""
    return [
        path(f"{prefix}/<name:owner>/", view.as_view()),
        path(f"{prefix}/<name:owner>/<name:server_name>", view.as_view()),
    ]


urlpatterns = [
    path("shares/<name:owner>", OwnerSharesView.as_view()),
    *with_default("shares", ServerSharesView),
    path("users/<name:name>/shared", UserSharedView.as_view()),
    *with_default("users/<name:name>/shared", UserSharedServerView),
    path("groups/<name:name>/shared", GroupSharedView.as_view()),
    *with_default("groups/<name:name>/shared", GroupSharedServerView),
]
