"""What the API answers with: the shapes on the wire.

The description of the API is made of these. Answers are written without them, because
a serializer takes longer than all the rest of a call: long lists come as JSON from the
database. `tests/api/test_serializers.py` compares the two.

Of users, groups, services and servers a caller sees the keys that its scopes show; so
only those that everybody sees are required.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

PENDING = ("spawn", "stop", "check", "rename")

Shape = serializers.Serializer[Any]


def text(**options: Any) -> serializers.CharField:
    """Describe text, which may be empty."""
    return serializers.CharField(allow_blank=True, **options)


def names(**options: Any) -> serializers.ListField:
    """Describe a list of names."""
    return serializers.ListField(child=text(), **options)


class ErrorSerializer(Shape):
    """Why a call was refused, or failed."""

    status = serializers.IntegerField()
    message = text(allow_null=True)


class NextPageSerializer(Shape):
    """Where a list goes on."""

    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    url = text()


class PaginationSerializer(Shape):
    """Which part of a list a page is."""

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
    """A user who calls, and what the credential presented may do."""

    token_id = text(allow_null=True)
    session_id = text(allow_null=True)
    scopes = names()


class CallingServiceSerializer(ServiceSerializer):
    """A service that calls, and what the token presented may do."""

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
    """A new token, with its secret: the one time that it is shown."""

    token = text()


class NamedSerializer(Shape):
    """A user or group by its name."""

    name = text()


class SharedServerSerializer(Shape):
    """What those learn of a server with whom it is shared."""

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
    """A code by which a server is shared with whoever presents it."""

    server = SharedServerSerializer()
    scopes = names()
    id = text()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    exchange_count = serializers.IntegerField()
    last_exchanged_at = serializers.DateTimeField(allow_null=True)


class IssuedShareCodeSerializer(ShareCodeSerializer):
    """A new share code with the code itself: the one time that it is shown."""

    code = text()
    accept_url = text()
    full_accept_url = text(allow_null=True)


def shape(name: str, says: str, **fields: serializers.Field[Any, Any, Any, Any]) -> Any:
    """Make a serializer whose fields have names that attributes can't have."""
    return type(name, (Shape,), {"__doc__": says, **fields})


ComponentSerializer = shape(
    "ComponentSerializer",
    "A class, and the version of its package.",
    **{"class": text(), "version": text()},
)
RouteSerializer = shape(
    "RouteSerializer",
    "A route of the proxy.",
    routespec=text(),
    target=text(),
    data=serializers.DictField(),
)

CALLER = PolymorphicProxySerializer(
    component_name="Caller",
    serializers=[CallingUserSerializer, CallingServiceSerializer],
    resource_type_field_name=None,
)

SHAPES: tuple[Any, ...] = (
    ErrorSerializer,
    PaginationSerializer,
    UserSerializer,
    ServerSerializer,
    GroupSerializer,
    ServiceSerializer,
    CALLER,
    TokenSerializer,
    IssuedTokenSerializer,
    ShareSerializer,
    ShareCodeSerializer,
    IssuedShareCodeSerializer,
    ComponentSerializer,
    RouteSerializer,
)
