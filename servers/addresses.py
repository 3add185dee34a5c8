"""Addresses of servers' pages; every part of a path is escaped, `@` is not."""

from __future__ import annotations

from urllib.parse import quote

from django.conf import settings


def hub_path(*parts: str) -> str:
    """Return an address below the hub's own part."""
    escaped = "/".join(quote(part, safe="@") for part in parts)
    return f"{settings.HUB.base_url}hub/{escaped}"


def spawn_path(owner: str, name: str, next_url: str = "") -> str:
    """Return where to start a server, and with it where to go once it runs."""
    return _leading_to(next_url, "spawn", owner, name)


def pending_path(owner: str, name: str, next_url: str = "") -> str:
    """Return where to watch a server come or go."""
    return _leading_to(next_url, "spawn-pending", owner, name)


def delete_path(name: str) -> str:
    """Return where to give up one of one's named servers."""
    return hub_path("servers", "delete") + f"?server_name={quote(name, safe='')}"


def progress_path(owner: str, name: str) -> str:
    """Return where the API reports the start of a server."""
    server = ("servers", name) if name else ("server",)
    return hub_path("api", "users", owner, *server, "progress")


def _leading_to(next_url: str, page: str, owner: str, name: str) -> str:
    path = hub_path(page, owner, *([name] if name else []))
    return f"{path}?next={quote(next_url, safe='')}" if next_url else path
