"""Addresses of servers' pages; every part of a path is escaped, except `@`."""

from __future__ import annotations

from urllib.parse import quote

from django.conf import settings


def hub_path(*parts: str) -> str:
    """Return an address below the path of the hub's own pages."""
    escaped = "/".join(quote(part, safe="@") for part in parts)
    return f"{settings.HUB.base_url}hub/{escaped}"


def spawn_path(owner: str, name: str, next_url: str = "") -> str:
    """Return the address of a server's start page, with the page to open afterwards."""
    return _leading_to(next_url, "spawn", owner, name)


def pending_path(owner: str, name: str, next_url: str = "") -> str:
    """Return the address of the page that shows the progress of a start or stop."""
    return _leading_to(next_url, "spawn-pending", owner, name)


def delete_path(name: str) -> str:
    """Return the address of the page that deletes one of the user's named servers."""
    return hub_path("servers", "delete") + f"?server_name={quote(name, safe='')}"


def progress_path(owner: str, name: str) -> str:
    """Return the API's address of the progress of a server's start."""
    server = ("servers", name) if name else ("server",)
    return hub_path("api", "users", owner, *server, "progress")


def _leading_to(next_url: str, page: str, owner: str, name: str) -> str:
    path = hub_path(page, owner, *([name] if name else []))
    return f"{path}?next={quote(next_url, safe='')}" if next_url else path
