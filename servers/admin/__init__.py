"""Servers in the admin; Django imports this package at its start."""

from servers.admin import servers, user_servers

__all__ = ["servers", "user_servers"]
