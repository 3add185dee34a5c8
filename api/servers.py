"""Servers on the wire: their shape, and what can be done with stopped ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from accounts.models import User
from api.base import APIRequest, HubAPIView, empty, error, reply
from scopes.access import Target
from scopes.refusals import Forbidden, Invalid, NotFound
from servers.actions import UNSET, create_server, delete_server, edit_server
from servers.models import Server, server_path
from servers.rights import server_target, user_target

EDITABLE = ("name", "display_name", "user_options")
STRUCTURED = ("display_name", "user_options")


class ServerRow(Protocol):
    """What the wire says about a server, wherever it was read from."""

    name: str
    display_name: str
    user_options: Any
    state: Any
    pending: str | None
    ready: bool
    started: datetime | None
    last_activity: datetime | None


def server_json(owner: str, server: ServerRow, *, with_state: bool) -> dict[str, Any]:
    """Return a server as the wire shows it."""
    path = server_path(owner, server.name)
    progress = progress_path(owner, server.name)
    public = settings.HUB.public_url.rstrip("/")
    base = settings.HUB.base_url
    data = {
        "name": server.name,
        "display_name": server.display_name,
        "full_name": f"{owner}/{server.name}",
        "last_activity": server.last_activity,
        "started": server.started,
        "pending": server.pending,
        "ready": server.ready,
        "stopped": not (server.ready or server.pending),
        "url": path,
        "user_options": server.user_options,
        "progress_url": progress,
        # The public address names the base URL already.
        "full_url": f"{public}/{path.removeprefix(base)}" if public else None,
        "full_progress_url": f"{public}/{progress.removeprefix(base)}"
        if public
        else None,
    }
    if with_state:
        data["state"] = server.state
    return data


def progress_path(owner: str, name: str) -> str:
    """Return the address at which the start of a server is reported."""
    user = f"{settings.HUB.base_url}hub/api/users/{quote(owner, safe='@')}"
    server = f"servers/{quote(name, safe='@')}" if name else "server"
    return f"{user}/{server}/progress"


def default_server(user: User) -> Server:
    """Return the default server of someone who never used it; it has no row yet."""
    return Server(user=user, user_options={})


class OneServerView(HubAPIView):
    """An address that names a server of a user; the default server's name is empty."""

    def subject(self) -> Target:
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

    def get(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user = self.require_owner()
        server = Server.objects.filter(user=user, name=self.server_name).first()
        if server is None and self.server_name:
            raise NotFound(f"{user.name} has no server named {self.server_name!r}")
        return self.show(user, server or default_server(user))

    def put(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user = self.require_owner()
        server = create_server(
            user, self.server_name, **read_options(self.json()), by=request.actor
        )
        return self.show(user, server, 201)

    def post(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        self.require_owner()
        read_options(self.json())
        if self.server_name and not settings.HUB.allow_named_servers:
            raise Invalid("Named servers are not enabled.")
        return error(405, "This hub does not start servers yet.")

    def patch(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user = self.require_owner()
        changes = read_changes(self.json())
        server = edit_server(user, self.server_name, **changes, by=request.actor)
        return self.show(user, server)

    def delete(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user, name = self.require_owner(), self.server_name
        body = self.json() or {}
        if not isinstance(body, dict):
            raise Invalid("Body must be a JSON object")
        remove = bool(body.get("remove"))
        if name:
            if not settings.HUB.allow_named_servers:
                raise Invalid("Named servers are not enabled.")
            if not Server.objects.filter(user=user, name=name).exists():
                raise NotFound(f"{user.name} has no server named '{name}'")
        if remove:
            delete_server(user, name, by=request.actor)
        # A server that is stopped already needs no stopping.
        return empty()

    def show(self, user: User, server: Server, status: int = 200) -> HttpResponse:
        access = self.request.access
        with_state = access.allows("admin:server_state", obj=server)
        return reply(server_json(user.name, server, with_state=with_state), status)


class ProgressView(OneServerView):
    """How the start of a server is coming along."""

    scopes: ClassVar = {"GET": "read:servers"}

    def get(self, request: APIRequest, **kwargs: str) -> HttpResponse:
        user, name = self.require_owner(), self.server_name
        if name and not Server.objects.filter(user=user, name=name).exists():
            raise NotFound(f"{user.name} has no server named {name!r}")
        shown = f"{user.name}:{name}" if name else user.name
        raise Invalid(f"{shown} is not starting...")


class AdminAccessView(HubAPIView):
    """What once let administrators into servers; nobody needs it any more."""

    scopes: ClassVar = {"POST": "servers"}

    def subject(self) -> Target:
        return user_target(self.kwargs["name"])

    def post(self, request: APIRequest, name: str) -> HttpResponse:
        raise Forbidden("admin access to user servers disabled")


def read_options(body: Any) -> dict[str, Any]:
    """Return what the body of a PUT (or POST) says about a server.

    Before JupyterHub 6 the whole body was the user options; it still is, unless it has
    one of the newer keys.
    """
    body = body or {}
    if not isinstance(body, dict):
        raise Invalid("Body must be a JSON object")
    if not any(key in body for key in STRUCTURED):
        return {"user_options": body}
    display_name, user_options = body.get("display_name", ""), body.get("user_options")
    if not isinstance(display_name, str):
        raise Invalid("display_name must be a string")
    if user_options is not None and not isinstance(user_options, dict):
        raise Invalid("user_options must be an object or null")
    return {"display_name": display_name, "user_options": user_options}


def read_changes(body: Any) -> dict[str, Any]:
    """Return what the body of a PATCH changes."""
    if body is not None and not isinstance(body, dict):
        raise Invalid("Body must be a JSON object")
    if not body:
        raise Invalid("Must specify at least one field to modify.")
    unknown = sorted(body.keys() - set(EDITABLE))
    if unknown:
        raise Invalid(f"Invalid JSON keys: {', '.join(unknown)}")
    for key in ("name", "display_name"):
        if not isinstance(body.get(key, ""), str | None):
            raise Invalid(f"{key} must be a string")
    options = body.get("user_options", UNSET)
    if options is not UNSET and not isinstance(options, dict):
        raise Invalid("user_options must be a dict")
    return {
        "new_name": body.get("name"),
        # No display name is none to change to.
        "display_name": body.get("display_name") or None,
        "user_options": options,
    }


urlpatterns = [
    path("users/<str:name>/server", ServerView.as_view()),
    path("users/<str:name>/servers/", ServerView.as_view()),
    path("users/<str:name>/servers/<str:server_name>", ServerView.as_view()),
    path("users/<str:name>/server/progress", ProgressView.as_view()),
    path("users/<str:name>/servers//progress", ProgressView.as_view()),
    path("users/<str:name>/servers/<str:server_name>/progress", ProgressView.as_view()),
    path("users/<str:name>/admin-access", AdminAccessView.as_view()),
]
