"""What follows when the hosted class has signed somebody in.

The class has decided who may enter. The hub refuses blocked names, names that can't be
usernames, and deactivated accounts; then second factor, session and audit log follow as
after a password of the hub's own.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest

from accounts import auth_state
from accounts.answer_actions import apply_answer
from accounts.answers import Answer
from accounts.hosting import client
from accounts.hosting.description import description
from accounts.hosting.refresh import reconcile
from accounts.hosting.requests import (
    FORM,
    accounts_of,
    ask,
    facts_of,
    keep_saved,
    request_facts,
)
from accounts.models import User
from accounts.naming import is_valid_name
from audit.models import Actor


def settle_answer(
    answer: dict[str, Any], *, address: str = "", makes_account: bool = True
) -> User | None:
    """Return the account of an answer, brought in line with it; None if refused.

    The class prepares a new account first (`add_user`), so that an account that it
    can't prepare does not exist afterwards. Raises `ClassFailed` then, and a `Refusal`
    if the answer contains what can't be stored. As in JupyterHub, nothing is prepared
    for a name that the class's own handler has given without `get_authenticated_user`.
    """
    name = answer["name"]
    if name in settings.HUB.blocked_users or not is_valid_name(name):
        return None
    user = User.objects.filter(name=name).first()
    reconcile(user, answer)
    found = Answer.read(answer)
    if user is None:
        if not makes_account:
            return None
        # JupyterHub's own method only admits accounts, which the host knows anyway.
        if answer.get("adds_user"):
            facts = {"name": name, "admin": bool(found.admin)}
            client.call("add_user", {"user": facts, "by": answer.get("by", 0)})
    elif not user.is_active:
        return None
    user = apply_answer(found, by=Actor("system", "sign-in", None, address))
    keep_saved(answer.get("saved", {}))
    return user if user.is_active else None


def may_enter(name: str) -> bool:
    """Ask the class whether a person may enter whom the class has not authenticated.

    That is a person with a passkey, or one who comes by single sign-on.
    """
    user = User.objects.filter(name=name).first()
    facts: dict[str, Any] = {"name": name, "admin": False, "groups": []}
    if user is not None:
        facts = facts_of(user)
        if description().enable_auth_state:
            facts["auth_state"] = auth_state.read(user.pk, user.name)
    try:
        return bool(ask({"user": facts}, "check_allowed"))
    except client.ClassFailed:
        return False


def check_password(
    request: HttpRequest | None, name: str, password: str
) -> dict[str, Any] | None:
    """Return the class's answer to a name and a password; None if they are refused.

    For programs that send both, and for people who confirm their identity again.
    """
    form = urlencode({"username": name, "password": password}).encode()
    facts = request_facts(request) if request else {"headers": []}
    found = ask(
        {
            **facts,
            "method": "POST",
            "uri": f"{settings.HUB_PREFIX}login",
            "headers": [*facts["headers"], ("Content-Type", FORM)],
            "body": b64encode(form).decode(),
            "users": [facts_of(user) for user in accounts_of(name)],
        },
    )
    answer: dict[str, Any] | None = found["answer"]
    return answer
