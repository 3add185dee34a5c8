"""What an answer of the hosted class changes in an account."""

from __future__ import annotations

from typing import Any

from accounts.actions import update_user
from accounts.models import User
from audit.models import Actor


def apply_answer(user: User, answer: dict[str, Any], *, by: Actor) -> User:
    """Bring an account in line with an answer of the class; return the account."""
    admin = answer.get("admin")
    if admin is not None and admin != user.admin:
        user = update_user(user, admin=admin, by=by)
    return user
