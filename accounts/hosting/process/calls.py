"""The calls that the host answers: functions from `Hosted` and facts to facts.

To add a call, write a function here or in a module beside this one, and add it to
`CALLS` under the name that web processes or the controller use. Each call runs in a
lane (see `lanes`), alone with its instance of the class, so it may block.

A user in a call is `hosted.put_user(facts)`, with the facts that the hub sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import maybe_future

from accounts.hosting.process import account_calls
from accounts.hosting.process.application import Accounts, Hosted
from accounts.hosting.process.handlers import is_overridden
from accounts.hosting.process.requests import Facts, respond

Call = Callable[[Hosted, Facts], Awaitable[Any]]

# Methods that the hub calls only if the class has its own.
HOOKS = (
    *("add_user", "delete_user", "refresh_user", "load_managed_roles"),
    *("pre_spawn_start", "post_spawn_stop", "check_allowed"),
)


# Identifies this start of the host, which has no data of earlier calls. Responses
# have it in a header, so that web processes notice a new start.
PROCESS = secrets.token_hex(8)


async def describe(hosted: Hosted, asked: Facts) -> Facts:
    """Return the facts of the class that the hub needs; all are settled at the start.

    `paths` are regular expressions of the class's handlers, below `/hub`. Handlers at
    `unchecked_paths` have a check of XSRF of their own, or none.
    """
    found = hosted.authenticator
    prefix = hosted.app.hub_prefix
    # The checks of JupyterHub's own pages, in whose place the hub makes its own.
    checks = (BaseHandler.check_xsrf_cookie, LoginHandler.check_xsrf_cookie)
    # Settings that the oldest JupyterHub lacks have their defaults.
    return {
        "class": type(found).__name__,
        "process": PROCESS,
        "paths": [str(path) for path, *_ in hosted.own_handlers],
        "unchecked_paths": [
            str(path)
            for path, handler, *_ in hosted.own_handlers
            if handler.check_xsrf_cookie not in checks
        ],
        "login_service": found.login_service,
        "login_url": found.login_url(prefix),
        "logout_url": found.logout_url(prefix),
        "auto_login": bool(found.auto_login),
        "request_otp": bool(found.request_otp),
        "otp_prompt": str(found.otp_prompt),
        "overrides": [name for name in HOOKS if is_overridden(found, name)],
        "allow_existing_users": bool(found.allow_existing_users),
        "changes_passwords": callable(getattr(found, "reset_password", None)),
        "enable_auth_state": bool(found.enable_auth_state),
        "manage_groups": bool(found.manage_groups),
        "manage_roles": bool(found.manage_roles),
        "reset_managed_roles_on_startup": bool(found.reset_managed_roles_on_startup),
        "auth_refresh_age": found.auth_refresh_age,
        "auth_refresh_strict": bool(getattr(found, "auth_refresh_strict", False)),
        "refresh_pre_spawn": bool(found.refresh_pre_spawn),
        "refresh_pre_stop": bool(getattr(found, "refresh_pre_stop", False)),
        "delete_invalid_users": bool(found.delete_invalid_users),
    }


async def know_accounts(hosted: Hosted, asked: Facts) -> None:
    """Learn the names of all accounts, or of those that are new.

    Keys of `asked`: `names`, `is_all`, and `count` and `last` (see `Accounts`).
    """
    known = hosted.known
    names = frozenset(asked["names"])
    if not asked["is_all"]:
        names |= known.accounts.names
    known.accounts = Accounts(names, asked["count"], asked["last"])


async def answer(hosted: Hosted, asked: Facts) -> Facts:
    """Answer a request of a browser, see `requests.respond`.

    With `count` and `last` of the hub's accounts in `asked`, nothing is done before the
    host has all of them; the result is then `knows`, the accounts that it has so far.
    """
    return knows(hosted, asked) or await respond(hosted, asked)


def knows(hosted: Hosted, asked: Facts) -> Facts | None:
    """Return which accounts the host has, if these are not those of the hub."""
    accounts = hosted.known.accounts
    if "last" in asked and (accounts.count, accounts.last) != (
        asked["count"],
        asked["last"],
    ):
        return {"knows": {"count": accounts.count, "last": accounts.last}}
    hosted.admit_accounts()
    return None


async def check_allowed(hosted: Hosted, asked: Facts) -> Any:
    """Check whether a user may enter, when the host has the accounts of `asked`."""
    return knows(hosted, asked) or await account_calls.check_allowed(hosted, asked)


async def add_user(hosted: Hosted, asked: Facts) -> None:
    """Have the class prepare a new account; an error refuses the account.

    Keys of `asked`: `user` (facts), and `by`, see `Hosted.authenticators`.
    """
    hosted.put_users(())
    user = hosted.put_user(asked["user"])
    await maybe_future(hosted.authenticators[asked["by"]].add_user(user))


async def reset_password(hosted: Hosted, asked: Facts) -> Facts:
    """Have a class that keeps passwords store another one, or say why not."""
    authenticator: Any = hosted.authenticator
    found = authenticator.reset_password(asked["name"], asked["password"])
    words = str(await maybe_future(found))
    return {"is_done": "success" in words, "words": words}


# Calls about many accounts.
LONG = frozenset({"add_users", "delete_users", "load_managed_roles"})

CALLS: dict[str, Call] = {
    "describe": describe,
    "respond": answer,
    "reset_password": reset_password,
    "know_accounts": know_accounts,
    "check_allowed": check_allowed,
    "add_user": add_user,
    "add_users": account_calls.add_users,
    "delete_users": account_calls.delete_users,
    "load_managed_roles": account_calls.load_managed_roles,
    "reconcile_auth_state": account_calls.reconcile_auth_state,
    "refresh_user": account_calls.refresh_user,
}
