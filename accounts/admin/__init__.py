"""Users, groups and roles in the admin; Django imports this package at its start."""

from accounts.admin import groups, roles, users

__all__ = ["groups", "roles", "users"]
