"""Authentication by the authenticator that the configuration names.

All methods of signing in share the normalisation of names, the admission, and the
creation of accounts. Only the check of the password differs.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import hashers
from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from accounts.actions import create_user, update_user
from accounts.hashing import spend_time
from accounts.hosting.sign_in import check_password, may_enter, settle_answer
from accounts.models import User
from accounts.naming import is_valid_name, normalise_name
from accounts.sign_up_actions import shown_at_sign_in, words_for
from audit.models import Actor
from scopes.refusals import Conflict


class WaitingError(Exception):
    """The password is that of a sign-up, and there is no account yet."""


def admits(name: str) -> bool:
    """Return whether a normalised name may sign in, by the configured lists.

    Configured administrators always may; blocked names never.
    """
    hub = settings.HUB
    if name in hub.blocked_users or not is_valid_name(name):
        return False
    if hub.is_hosted:
        return may_enter(name)
    if hub.allow_all or name in hub.admin_users or name in hub.allowed_users:
        return True
    return hub.allow_existing_users and User.objects.filter(name=name).exists()


def settle_account(
    name: str,
    *,
    address: str = "",
    admin: bool | None = None,
    makes_account: bool = True,
) -> User | None:
    """Return the account of an authenticated person; None if refused.

    The first sign-in creates the account if `makes_account`. A person whom the
    configuration names as administrator becomes one. `admin` is the same fact from
    another authority, or None.
    """
    if not admits(name):
        return None
    by = Actor("system", "sign-in", None, address)
    if name in settings.HUB.admin_users:
        admin = True
    user = User.objects.filter(name=name).first()
    if user is None and not makes_account:
        return None
    if user is None:
        try:
            return create_user(name, admin=bool(admin), by=by)
        except Conflict:
            # Two first sign-ins at once: the other one has created the account.
            user = User.objects.get(name=name)
    if admin is not None and admin != user.admin:
        user = update_user(user, admin=admin, by=by)
    return user if user.is_active else None


class HubBackend(BaseBackend):
    """Checks a name and a password with the configured authenticator."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        makes_account: bool = True,
        **credentials: Any,
    ) -> User | None:
        if not username or password is None:
            return None
        typed = username.strip()
        address = request.META.get("REMOTE_ADDR", "") if request else ""
        if settings.HUB.is_hosted:
            answer = check_password(request, typed, password)
            if answer is None:
                return None
            return settle_answer(answer, address=address, makes_account=makes_account)
        name = normalise_name(typed)
        if not CHECKS[settings.HUB.authenticator_class](name, password):
            return None
        return settle_account(name, address=address, makes_account=makes_account)

    def get_user(self, user_id: int) -> User | None:
        """Return the user of a session, unless the account was deactivated since."""
        user = User.objects.filter(pk=user_id, is_active=True).first()
        if user is None or user.name in settings.HUB.blocked_users:
            return None
        return user


def _check_local_password(name: str, password: str) -> bool:
    user = User.objects.filter(name=name).first()
    if user is None or not user.has_usable_password():
        waiting = shown_at_sign_in(name)
        for row in waiting:
            if hashers.check_password(password, row.password):
                raise WaitingError(words_for(row))
        if not waiting:
            # As slow as a real check, so that the time does not reveal which users
            # exist.
            spend_time(name, password)
        return False
    return user.check_password(password)


def _check_dummy_password(name: str, password: str) -> bool:
    expected = settings.HUB.dummy_password
    return not expected or hmac.compare_digest(password.encode(), expected.encode())


def _knows_nothing(name: str, password: str) -> bool:
    return False


CHECKS: dict[str, Callable[[str, str], bool]] = {
    "local": _check_local_password,
    "dummy": _check_dummy_password,
    "null": _knows_nothing,
}
