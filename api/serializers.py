"""Serializers of the API's responses, for its OpenAPI description.

Responses are made without them, because a serializer takes longer than all the rest of
a call; the database makes the JSON of long lists. `tests/api/test_serializers.py`
compares responses with these serializers.

A caller's scopes limit the visible keys of users, groups, services and servers. So only
the keys that are visible to all callers are required.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

PENDING = ("spawn", "stop", "check", "rename")

Shape = serializers.Serializer[Any]


def text(**options: Any) -> serializers.CharField:
    """Return a field of text, which may be empty."""
    return serializers.CharField(allow_blank=True, **options)


def names(**options: Any) -> serializers.ListField:
    """Return a field of a list of names."""
    return serializers.ListField(child=text(), **options)


class ErrorSerializer(Shape):
    """The reason of a refusal or failure."""

    status = serializers.IntegerField()
    message = text(allow_null=True)


class NextPageSerializer(Shape):
    """The next page of a list."""

    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    url = text()


class PaginationSerializer(Shape):
    """The position of a page in its list."""

    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    total = serializers.IntegerField()
    next = NextPageSerializer(allow_null=True)


class ServerSerializer(Shape):
    """A server of a user."""

    name = text()
    display_name = text(allow_null=True)
    full_name = text()
    last_activity = serializers.DateTimeField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    pending = serializers.ChoiceField(PENDING, allow_null=True)
    ready = serializers.BooleanField()
    stopped = serializers.BooleanField()
    url = text()
    user_options = serializers.DictField(allow_null=True)
    progress_url = text()
    full_url = text(allow_null=True)
    full_progress_url = text(allow_null=True)
    state = serializers.DictField(allow_null=True, required=False)


class UserSerializer(Shape):
    """A user."""

    kind = serializers.ChoiceField(("user",))
    name = text()
    admin = serializers.BooleanField(required=False)
    user_info = serializers.DictField(allow_null=True, required=False)
    roles = names(required=False)
    groups = names(required=False)
    server = text(allow_null=True, required=False)
    pending = serializers.ChoiceField(PENDING, allow_null=True, required=False)
    created = serializers.DateTimeField(required=False)
    last_activity = serializers.DateTimeField(allow_null=True, required=False)
    servers = serializers.DictField(child=ServerSerializer(), required=False)
    auth_state = serializers.DictField(allow_null=True, required=False)


class GroupSerializer(Shape):
    """A group of users."""

    kind = serializers.ChoiceField(("group",))
    name = text()
    users = names(required=False)
    properties = serializers.DictField(required=False)
    roles = names(required=False)


class ServiceSerializer(Shape):
    """A service."""

    kind = serializers.ChoiceField(("service",))
    name = text()
    admin = serializers.BooleanField(required=False)
    url = text(allow_null=True, required=False)
    prefix = text(required=False)
    command = names(required=False)
    pid = serializers.IntegerField(required=False)
    info = serializers.DictField(allow_null=True, required=False)
    display = serializers.BooleanField(allow_null=True, required=False)
    roles = names(required=False)


class CallingUserSerializer(UserSerializer):
    """The calling user, and the scopes of the credential."""

    token_id = text(allow_null=True)
    session_id = text(allow_null=True)
    scopes = names()


class CallingServiceSerializer(ServiceSerializer):
    """The calling service, and the scopes of its token."""

    token_id = text(allow_null=True)
    session_id = text(allow_null=True)
    scopes = names()


class TokenSerializer(Shape):
    """A token of a user or service."""

    id = text()
    kind = serializers.ChoiceField(("api_token",))
    roles = names()
    scopes = names()
    created = serializers.DateTimeField()
    last_activity = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    note = text()
    session_id = text(allow_null=True)
    oauth_client = text()
    user = text(required=False)
    service = text(required=False)


class IssuedTokenSerializer(TokenSerializer):
    """A new token with its secret, which is shown only once."""

    token = text()


class NamedSerializer(Shape):
    """A user or group by its name."""

    name = text()


class SharedServerSerializer(Shape):
    """A server as recipients of a share see it."""

    user = NamedSerializer()
    name = text()
    url = text()
    full_url = text(allow_null=True)
    ready = serializers.BooleanField()


class ShareSerializer(Shape):
    """A server that is shared with a user or a group."""

    server = SharedServerSerializer()
    scopes = names()
    user = NamedSerializer(allow_null=True)
    group = NamedSerializer(allow_null=True)
    kind = serializers.ChoiceField(("user", "group"))
    created_at = serializers.DateTimeField()


class ShareCodeSerializer(Shape):
    """A code that shares a server with each user who accepts it."""

    server = SharedServerSerializer()
    scopes = names()
    id = text()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    exchange_count = serializers.IntegerField()
    last_exchanged_at = serializers.DateTimeField(allow_null=True)


class IssuedShareCodeSerializer(ShareCodeSerializer):
    """A new share code with the code itself, which is shown only once."""

    code = text()
    accept_url = text()
    full_accept_url = text(allow_null=True)


def shape(name: str, says: str, **fields: serializers.Field[Any, Any, Any, Any]) -> Any:
    """Make a serializer with field names that are not valid names of attributes."""
    return type(name, (Shape,), {"__doc__": says, **fields})


class VersionSerializer(Shape):
    """The version of JupyterHub's API."""

    version = text()


class MessageSerializer(Shape):
    """What the hub does now."""

    message = text()


ComponentSerializer = shape(
    "ComponentSerializer",
    "A class, and the version of its package.",
    **{"class": text(), "version": text()},
)


class InfoSerializer(Shape):
    """The versions of the hub's components."""

    version = text()
    python = text()
    sys_executable = text()
    spawner = ComponentSerializer()
    authenticator = ComponentSerializer()


class TokenListSerializer(Shape):
    """Tokens of a user; the position of the page is present if it was requested."""

    api_tokens = TokenSerializer(many=True)
    _pagination = PaginationSerializer(required=False, label="_pagination")


class RouteSerializer(Shape):
    """A route of the proxy."""

    routespec = text()
    target = text()
    data = serializers.DictField()  # type: ignore[assignment]


class ObjectsByName(Shape):
    """An object whose keys are names, and whose values have the shape of `child`."""

    component_name: str
    child: type[Shape]


class ServicesByName(ObjectsByName):
    """Services by name."""

    component_name = "ServicesByName"
    child = ServiceSerializer


class RoutesByName(ObjectsByName):
    """Routes of the proxy by the paths that they serve."""

    component_name = "RoutesByName"
    child = RouteSerializer


class RoutesPageSerializer(Shape):
    """One page of the routes of the proxy."""

    items = RoutesByName()
    _pagination = PaginationSerializer(label="_pagination")


def one_of(name: str, *shapes: Any) -> PolymorphicProxySerializer:
    """Return the description of a response with one of several shapes."""
    return PolymorphicProxySerializer(
        component_name=name, serializers=list(shapes), resource_type_field_name=None
    )


CALLER = one_of("Caller", CallingUserSerializer, CallingServiceSerializer)
TOKEN_OWNER = one_of("TokenOwner", UserSerializer, ServiceSerializer)
ROUTES = one_of("Routes", RoutesByName, RoutesPageSerializer)
