"""The site's authenticator class around starts: `pre_spawn_start`, `post_spawn_stop`.

These hooks change the spawner or open a session of the system for the process that the
spawner starts, so they run beside the spawner and not in the process that hosts the
class for sign-ins. An instance of the class is made here only if the class has such a
hook of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from django.conf import settings

from accounts.hosting.client import ClassFailed
from accounts.hosting.description import description
from scopes.refusals import Unavailable

if TYPE_CHECKING:
    from traitlets.config import Config

log = structlog.get_logger("hub.spawner")

HOOKS: Final = frozenset({"pre_spawn_start", "post_spawn_stop"})


class Keeper(Protocol):
    """Reads and saves the auth state of users."""

    async def read(self, user_id: int, name: str) -> dict[str, Any] | None: ...

    async def save(self, user_id: int, value: dict[str, Any] | None) -> None: ...


class NoKeeper:
    """The keeper of a spawner without a database, which has nothing."""

    async def read(self, user_id: int, name: str) -> dict[str, Any] | None:
        return None

    async def save(self, user_id: int, value: dict[str, Any] | None) -> None:
        raise RuntimeError("auth state can't be saved here")


class Class:
    """The instance of the authenticator class, made when it is first needed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.is_known = False
        self.instance: Any = None
        self.lock = asyncio.Lock()

    async def get(self) -> Any:
        """Return the instance; None if the class has no hook around starts."""
        if self.is_known:
            return self.instance
        async with self.lock:
            if not self.is_known:
                if settings.HUB.is_hosted and await asyncio.to_thread(has_hooks):
                    self.instance = await asyncio.to_thread(self.make)
                self.is_known = True
        return self.instance

    def make(self) -> Any:
        from accounts.hosting.process.application import JupyterHub, Place, session
        from accounts.hosting.process.classes import load_class

        hub = settings.HUB
        named = self.config.get("JupyterHub", {}).get("authenticator_class")
        place = Place(
            config=self.config,
            authenticator_class=named,
            base_url=hub.base_url,
            hub_ip=hub.hub_ip,
            hub_port=hub.hub_port,
            hub_connect_url=hub.hub_connect_url,
            public_url=hub.public_url,
            subdomain_host=hub.subdomain_host,
        )
        app = JupyterHub(place, config=self.config)
        app.db = session()
        app.authenticator = load_class(named)(parent=app, _deprecated_db_session=app.db)
        log.info("The authenticator has hooks around starts, and is loaded for them")
        return app.authenticator


def has_hooks() -> bool:
    """Return whether the class has hooks of its own around starts."""
    try:
        return not HOOKS.isdisjoint(description().overrides)
    except (Unavailable, ClassFailed):
        # The host is away, and servers start all the same.
        from jupyterhub.auth import Authenticator

        from accounts.hosting.process.classes import load_class

        named = settings.HUB.raw.get("JupyterHub", {}).get("authenticator_class")
        found = load_class(named)
        return any(
            getattr(found, name) is not getattr(Authenticator, name) for name in HOOKS
        )
