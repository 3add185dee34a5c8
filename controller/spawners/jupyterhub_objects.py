"""JupyterHub's objects for spawners, as far as they exist here.

Spawners get the classes `Hub` and `Server` of JupyterHub itself. For the user, the
spawner's row, the database session, the authenticator and the request they get the
stand-ins below, which have the attributes that spawners and hooks use, and name them
when another attribute is read. Importing this module imports JupyterHub.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from jupyterhub import objects, orm

from controller.proxy.addresses import hub_routespec
from controller.spawners.authenticators import Keeper
from controller.spawners.spawn_context import SpawnContext
from servers.models import server_path, server_url
from web.hosts import public_origin, public_url, user_domain, user_origin


class StandIn:
    """An object whose missing attributes raise an error listing all others."""

    # The name of the object in hooks, and the attributes that hooks may use.
    called: ClassVar[str] = ""
    surface: ClassVar[tuple[str, ...]] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        available = ", ".join(self.surface) or "nothing of it"
        raise AttributeError(
            f"`{self.called}.{name}` is not available in this hub; "
            f"available: {available}"
        )


@dataclass(frozen=True, slots=True)
class HostedGroup:
    """A group to which the owner belongs."""

    name: str


class HostedUser(StandIn):
    """The owner of the server."""

    called = "spawner.user"
    surface = (
        *("name", "id", "admin", "groups", "created", "last_activity", "kind"),
        *("url", "base_url", "escaped_name", "json_escaped_name"),
        *("proxy_spec", "host", "server_url()", "public_url()", "progress_url()"),
        *("get_auth_state()", "save_auth_state()"),
    )
    kind = "user"

    def __init__(self, context: SpawnContext, keeper: Keeper) -> None:
        self._keeper = keeper
        self.id = context.user_id
        self.name = context.user_name
        self.admin = context.admin
        self.groups = [HostedGroup(name) for name in context.groups]
        self.created = context.created
        self.last_activity = context.last_activity
        self.base_url = server_path(self.name, "")
        self.url = server_url(self.name, "")
        self.proxy_spec = proxy_spec(self.name, self.base_url)
        self.escaped_name = self.base_url.rstrip("/").rpartition("/")[2]
        self.host = user_origin(self.name) or public_origin()

    def __repr__(self) -> str:
        return f"<User {self.name}>"

    @property
    def json_escaped_name(self) -> str:
        return json.dumps(self.name)[1:-1]

    def server_url(self, server_name: str = "") -> str:
        return server_url(self.name, server_name)

    def public_url(self, server_name: str = "") -> str:
        return server_public_url(self.name, server_path(self.name, server_name))

    def progress_url(self, server_name: str = "") -> str:
        which = self.server_url(server_name).removeprefix(self.url).strip("/")
        rest = f"servers/{which}" if which else "server"
        api = f"{settings.HUB.base_url}hub/api/users/{self.escaped_name}"
        return f"{api}/{rest}/progress"

    async def get_auth_state(self) -> dict[str, Any] | None:
        return await self._keeper.read(self.id, self.name)

    async def save_auth_state(self, auth_state: dict[str, Any] | None) -> None:
        await self._keeper.save(self.id, auth_state)


class HostedRow(StandIn):
    """The spawner's row; `server` is a transient row of JupyterHub's."""

    called = "spawner.orm_spawner"
    surface = (
        *("id", "name", "display_name", "server", "state", "user_options"),
        *("started", "last_activity"),
    )

    def __init__(self, context: SpawnContext, options: dict[str, Any]) -> None:
        self.id = context.server_id
        self.name = context.name
        self.display_name = context.display_name
        self.state = dict(context.state)
        self.user_options = options
        self.started = context.started
        self.last_activity = context.last_activity
        self.server: orm.Server | None = transient_server(context.path, context.url)


class HostedSession(StandIn):
    """The database session, of which only `commit()` has an effect.

    Spawners call it after they changed their server's address by themselves.
    """

    called = "spawner.db"
    surface = ("commit()",)

    def __init__(self, committed: Callable[[], None]) -> None:
        self.commit = committed


class HostedAuthenticator(StandIn):
    """The authenticator, of which spawners use nothing and hooks little."""

    called = "spawner.authenticator"
    surface = ("enable_auth_state", "admin_users", "allowed_users")

    @property
    def enable_auth_state(self) -> bool:
        return bool(settings.HUB.enable_auth_state)

    @property
    def admin_users(self) -> set[str]:
        return set(settings.HUB.admin_users)

    @property
    def allowed_users(self) -> set[str]:
        return set(settings.HUB.allowed_users)


class NoHandler(StandIn):
    """The request for which a server starts, which another process has answered.

    The object is false, so that a hook that tests it goes on without a request.
    """

    called = "spawner.handler"

    def __bool__(self) -> bool:
        return False


def hub() -> objects.Hub:
    """Return the hub with the address at which servers reach it."""
    config = settings.HUB
    prefix = f"{config.base_url}hub/"
    return objects.Hub(
        base_url=prefix,
        ip=config.hub_ip,
        port=config.hub_port,
        connect_url=config.hub_connect_url,
        public_host=public_origin(),
        routespec=hub_routespec(),
    )


def transient_server(path: str, url: str = "") -> orm.Server:
    """Return a row without a session, with the address of a server.

    A session would be needed only to replace the row, so `spawner.server` must not be
    assigned.
    """
    # The values of JupyterHub's rows until a server has an address.
    row = orm.Server(proto="http", ip="", port=0, base_url=path, cookie_name="")
    if url:
        set_address(row, url)
    return row


def set_address(row: Any, url: str) -> None:
    """Write scheme, host and port of an address to a row."""
    parts = urlsplit(url)
    row.proto = parts.scheme or "http"
    row.ip = parts.hostname or ""
    row.port = parts.port or (443 if parts.scheme == "https" else 80)


def proxy_spec(owner: str, path: str) -> str:
    """Return the route of a server as JupyterHub writes it, with its host if any."""
    return f"{user_domain(owner)}{path}"


def server_public_url(owner: str, path: str) -> str:
    """Return the public address of a server; empty if none is known."""
    host = user_origin(owner)
    return f"{host}{path}" if host else public_url(path)
