"""Users, groups and roles in the admin; Django imports this package at its start."""

from accounts.admin import groups, roles, sign_ups, users

__all__ = ["groups", "roles", "sign_ups", "users"]
