"""Servers in the API: their JSON, start, stop, and progress.

A call that starts or stops a server waits for a while for the result; see
`web.deferred`. After that time the start or stop continues without the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Protocol

import orjson
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.response import Response

from accounts.hosting.refresh import START, STOP, refreshes_before
from accounts.models import User
from api.base import APIRequest, HubAPIView, empty
from api.bodies import BodySerializer, OpenBodySerializer
from api.exceptions import error
from api.openapi.decorators import extend_schema
from api.serializers import ErrorSerializer, ServerSerializer
from scopes.access import Target
from scopes.refusals import Forbidden, Invalid, NotFound
from servers.actions import AlreadyRunning, start_server, stop_server
from servers.addresses import progress_path
from servers.controller_calls import NoAnswer, ask_async
from servers.limits import asks_for_limit
from servers.models import Server, server_path
from servers.named_server_actions import UNSET, create_server, edit_server, refuse_known
from servers.progress import follow, last_event
from servers.rights import server_target, user_target
from servers.waiting import until_settled
from web.deferred import AWAITS, Deferred, iterate_here
from web.hosts import public_url, user_origin

# Seconds that a call waits for a server to start or stop, unless configured.
PATIENCE = 10.0
# Seconds between heartbeats on a stream, so that proxies keep it open.
BEAT = 8.0


class ServerRow(Protocol):
    """The columns of a server for the API, from any source."""

    name: str
    display_name: str
    user_options: Any
    state: Any
    pending: str | None
    ready: bool
    started: datetime | None
    last_activity: datetime | None


def server_json(owner: str, server: ServerRow, *, with_state: bool) -> dict[str, Any]:
    """Return a server as the API shows it."""
    path = server_path(owner, server.name)
    progress = progress_path(owner, server.name)
    host = user_origin(owner)
    data = {
        "name": server.name,
        "display_name": server.display_name,
        "full_name": f"{owner}/{server.name}",
        "last_activity": server.last_activity,
        "started": server.started,
        "pending": server.pending,
        "ready": server.ready,
        "stopped": not (server.ready or server.pending),
        "url": f"{host}{path}",
        "user_options": server.user_options,
        "progress_url": progress,
        "full_url": (f"{host}{path}" if host else public_url(path)) or None,
        "full_progress_url": public_url(progress) or None,
    }
    if with_state:
        data["state"] = server.state
    return data


def default_server(user: User) -> Server:
    """Return the default server of a user who never used it, without a row."""
    return Server(user=user)


class OptionsSerializer(OpenBodySerializer):
    """The options of a server in a PUT.

    Before JupyterHub 6 the whole body was the user options. It still is, unless it has
    one of the newer keys.
    """

    is_required = False

    display_name = serializers.CharField(allow_null=True, required=False)
    user_options = serializers.DictField(allow_null=True, required=False)

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if data is None:
            return {}
        body = super().run_validation(data)
        if body.keys().isdisjoint(self.fields):
            return {"user_options": body}
        display_name, options = body.get("display_name", ""), body.get("user_options")
        if not isinstance(display_name, str):
            raise Invalid("display_name must be a string")
        if options is not None and not isinstance(options, dict):
            raise Invalid("user_options must be an object or null")
        return {"display_name": display_name, "user_options": options}


class StartSerializer(OptionsSerializer):
    """The options of a server in a POST; an empty body means the last options."""

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return super().run_validation(data) if data else {}


class ChangesSerializer(BodySerializer):
    """The changes of a server in a PATCH."""

    name = serializers.CharField(required=False)
    display_name = serializers.CharField(required=False)
    user_options = serializers.DictField(required=False)

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if data is not None and not isinstance(data, dict):
            raise Invalid("Body must be a JSON object")
        if not data:
            raise Invalid("Must specify at least one field to modify.")
        unknown = sorted(data.keys() - self.fields.keys())
        if unknown:
            raise Invalid(f"Invalid JSON keys: {', '.join(unknown)}")
        for key in ("name", "display_name"):
            if not isinstance(data.get(key, ""), str | None):
                raise Invalid(f"{key} must be a string")
        options = data.get("user_options", UNSET)
        if options is not UNSET and not isinstance(options, dict):
            raise Invalid("user_options must be a dict")
        return {
            "new_name": data.get("name"),
            # An empty display name means no change.
            "display_name": data.get("display_name") or None,
            "user_options": options,
        }


class StopSerializer(OpenBodySerializer):
    """Whether to remove the server, too."""

    is_required = False

    remove = serializers.BooleanField(required=False)


class OneServerView(HubAPIView):
    """The address of a user's server; the default server's name is empty."""

    def get_permission_object(self) -> Target:
        return server_target(self.kwargs["name"], self.server_name)

    @property
    def server_name(self) -> str:
        return self.kwargs.get("server_name", "")

    @property
    def owner(self) -> User | None:
        if not hasattr(self, "_owner"):
            self._owner = User.objects.filter(name=self.kwargs["name"]).first()
        return self._owner

    def require_owner(self) -> User:
        if self.owner is None:
            raise NotFound(f"No such user: {self.kwargs['name']}")
        return self.owner


class ServerView(OneServerView):
    """One server of a user."""

    scopes: ClassVar = {
        "GET": "read:servers",
        "PUT": "start:servers",
        "POST": "start:servers",
        "PATCH": "start:servers",
        "DELETE": "delete:servers",
    }
    serializer_classes: ClassVar = {
        "PUT": OptionsSerializer,
        "POST": StartSerializer,
        "PATCH": ChangesSerializer,
        "DELETE": StopSerializer,
    }

    @extend_schema(summary="Return a server", responses=ServerSerializer)
    def get(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user = self.require_owner()
        server = Server.objects.filter(user=user, name=self.server_name).first()
        if server is None and self.server_name:
            raise NotFound(f"{user.name} has no server named {self.server_name!r}")
        return self.show(user, server or default_server(user))

    @extend_schema(
        summary="Create a server without starting it",
        responses={201: ServerSerializer, 409: ErrorSerializer},
    )
    def put(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user = self.require_owner()
        # An existing server is refused before the body is read.
        refuse_known(user, self.server_name)
        server = create_server(
            user, self.server_name, **self.read_body(), by=request.actor
        )
        return self.show(user, server, 201)

    @extend_schema(
        summary="Start a server; create it if it does not exist",
        responses={
            201: None,
            202: None,
            409: ErrorSerializer,
            429: ErrorSerializer,
            500: ErrorSerializer,
        },
    )
    def post(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user, options = self.require_owner(), self.read_body()
        start = partial(self.start, user, options)
        try:
            return start()
        except AlreadyRunning as running:
            return Deferred(partial(self.start_if_dead, running, start))

    def start(self, user: User, options: dict[str, Any]) -> HttpResponse:
        server, is_new = start_server(
            user, self.server_name, **options, by=self.request.actor
        )
        seconds = patience("spawn")
        if not is_new or not seconds:
            return empty(202, "text/plain")
        return Deferred(partial(self.report_start, server, seconds))

    async def start_if_dead(
        self, running: AlreadyRunning, start: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Let the controller poll a running server; start a dead one again."""
        try:
            found = await ask_async("poll", server_id=running.server.pk)
        except NoAnswer:
            raise running from None
        if found["alive"]:
            raise running
        response = await asyncio.to_thread(start)
        if isinstance(response, Deferred):
            return await response.waiting()
        return response

    async def report_start(self, requested: Server, seconds: float) -> HttpResponse:
        server = await until_settled(requested.pk, requested.generation, seconds)
        if server is None or server.generation != requested.generation:
            return error(409, f"The start of {requested.label} has been cancelled.")
        if server.ready:
            return empty(201, "text/plain")
        if server.pending:
            return empty(202, "text/plain")
        if server.failure_detail:
            return error(server.failure_status or 500, "Internal Server Error")
        return error(server.failure_status or 500, server.failure or "Spawn failed")

    @extend_schema(
        summary="Rename or edit a stopped server",
        responses={200: ServerSerializer, 409: ErrorSerializer},
    )
    def patch(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user = self.require_owner()
        changes = self.read_body()
        server = edit_server(user, self.server_name, **changes, by=request.actor)
        return self.show(user, server)

    @extend_schema(
        summary="Stop a server, and delete it on request",
        responses={202: None, 204: None},
    )
    def delete(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user, name = self.require_owner(), self.server_name
        remove = bool(self.read_body().get("remove"))
        stopping = Server.objects.filter(
            user=user, name=name, pending=Server.Pending.STOP
        ).exists()
        server = stop_server(user, name, remove=remove, by=request.actor)
        if server is None:
            return empty()
        seconds = patience("stop")
        if stopping or not seconds:
            return empty(202, "text/plain")
        return Deferred(partial(self.report_stop, server, seconds))

    async def report_stop(self, requested: Server, seconds: float) -> HttpResponse:
        server = await until_settled(requested.pk, requested.generation, seconds)
        if server is not None and server.pending == Server.Pending.STOP:
            return empty(202, "text/plain")
        return empty()

    def show(self, user: User, server: Server, status: int = 200) -> HttpResponse:
        access = self.request.access
        with_state = access.allows("admin:server_state", obj=server)
        return Response(server_json(user.name, server, with_state=with_state), status)


class ProgressView(OneServerView):
    """The progress of a server's start."""

    scopes: ClassVar = {"GET": "read:servers"}

    @extend_schema(
        summary="Stream the progress of a start as server-sent events",
        responses={(200, "text/event-stream"): OpenApiTypes.STR, 400: ErrorSerializer},
    )
    def get(self, request: APIRequest, **kwargs: str) -> HttpResponseBase:
        user, name = self.require_owner(), self.server_name
        server = Server.objects.filter(user=user, name=name).first()
        if server is None:
            raise NotFound(f"{user.name} has no server named {name!r}")
        server.user = user
        if server.pending in (Server.Pending.SPAWN, Server.Pending.CHECK):
            return stream(frames(follow(server, BEAT)), request)
        last = last_event(server)
        if last is None:
            # As in JupyterHub, which keeps no stopped servers.
            if server.generation and not server.pending:
                raise NotFound(f"{server.label} is not starting...")
            raise Invalid(f"{server.label} is not starting...")
        return stream(frames(one(last)), request)


async def one(event: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield event


async def frames(events: AsyncIterator[dict[str, Any] | None]) -> AsyncIterator[bytes]:
    """Yield events in the format of an event stream; None becomes a heartbeat."""
    async for event in events:
        yield b"\n\n" if event is None else b"data: %b\n\n" % orjson.dumps(event)


def stream(chunks: AsyncIterator[bytes], request: APIRequest) -> StreamingHttpResponse:
    here = AWAITS not in request.META
    return StreamingHttpResponse(
        iterate_here(chunks) if here else chunks,
        content_type="text/event-stream",
        headers={"Cache-Control": "no-cache"},
    )


def patience(act: str) -> float:
    """Return the seconds that a call waits for a `spawn` or a `stop`."""
    return float(settings.HUB.tornado_settings.get(f"slow_{act}_timeout", PATIENCE))


class AdminAccessView(HubAPIView):
    """A former address that gave administrators access to servers."""

    scopes: ClassVar = {"POST": "servers"}

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    @extend_schema(
        summary="Refused; administrators use the scope access:servers",
        responses={403: ErrorSerializer},
        deprecated=True,
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        raise Forbidden("admin access to user servers disabled")


default = refreshes_before(ServerView.as_view(), POST=START, DELETE=STOP)
named = refreshes_before(
    asks_for_limit(ServerView.as_view(), "POST"), POST=START, DELETE=STOP
)

urlpatterns = [
    path("users/<name:name>/server", default),
    path("users/<name:name>/servers/", default),
    path("users/<name:name>/servers/<name:server_name>", named),
    path("users/<name:name>/server/progress", ProgressView.as_view()),
    path("users/<name:name>/servers//progress", ProgressView.as_view()),
    path(
        "users/<name:name>/servers/<name:server_name>/progress", ProgressView.as_view()
    ),
    path("users/<name:name>/admin-access", AdminAccessView.as_view()),
]
