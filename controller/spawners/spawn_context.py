"""The data about a server and its owner that a spawner may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oauth.clients import server_client_id
from servers.models import Server, server_path


@dataclass(frozen=True, slots=True)
class SpawnContext:
    """One server's row, read once, for an event loop that must not use the database."""

    server_id: int
    user_id: int
    user_name: str
    name: str = ""
    client_id: str = ""
    display_name: str = ""
    admin: bool = False
    groups: tuple[str, ...] = ()
    user_options: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    attempt: str = ""
    announced_port: int | None = None
    created: datetime | None = None
    started: datetime | None = None
    last_activity: datetime | None = None

    @classmethod
    def of(cls, server: Server) -> SpawnContext:
        """Read the context of a server; this queries its owner and their groups."""
        user = server.user
        return cls(
            server_id=server.pk,
            user_id=user.pk,
            user_name=user.name,
            name=server.name,
            client_id=server_client_id(user.name, server.name),
            display_name=server.display_name,
            admin=user.admin,
            groups=tuple(user.groups.order_by("name").values_list("name", flat=True)),
            user_options=dict(server.user_options or {}),
            state=dict(server.state or {}),
            url=server.url,
            attempt=server.attempt,
            announced_port=server.announced_port,
            created=user.created,
            started=server.started,
            last_activity=server.last_activity,
        )

    @property
    def path(self) -> str:
        """The path of the server below the public address."""
        return server_path(self.user_name, self.name)

    @property
    def label(self) -> str:
        """The name of the server in logs."""
        return f"{self.user_name}/{self.name}"
