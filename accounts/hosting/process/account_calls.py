"""Calls about one account beside sign-ins: refresh, deletion, reconciliation, start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.utils import maybe_future

from accounts.hosting.process.application import Hosted, KnownUser
from accounts.hosting.process.handlers import answer_of
from accounts.hosting.process.requests import Exchange, Facts, make_request

log = logging.getLogger("hub.authenticator")


async def refresh_user(hosted: Hosted, asked: Facts) -> Facts:
    """Call `refresh_user` of the class, which checks its data about a user.

    Keys of `asked`: `user` (facts), and `request` if a browser's request is the reason.
    Keys of the result: `is_fresh`, and `answer`, which is None if nothing changes.
    """
    hosted.put_users(())
    user = hosted.put_user(asked["user"])
    handler = _handler(hosted, user, asked.get("request"))
    found = await maybe_future(hosted.authenticator.refresh_user(user, handler))
    if not found:
        return {"is_fresh": False, "answer": None}
    answer: Facts | None = None
    if isinstance(found, dict):
        # As in JupyterHub, a refresh can't change the name.
        answer = answer_of(hosted.authenticator, {**found, "name": user.name})
        if "auth_state" not in found:
            # As in JupyterHub, what is kept goes through the hook once more.
            answer["auth_state"] = user.auth_state
            if not answer["reconciles"]:
                del answer["auth_state"]
    if user.has_saved and (answer is None or "auth_state" not in answer):
        # The class saved it by `user.save_auth_state()`.
        answer = {"name": user.name, **(answer or {}), "auth_state": user.auth_state}
    return {"is_fresh": True, "answer": answer}


class RefreshHandler(BaseHandler):
    """The handler of a request for which a user is refreshed; it does not respond."""

    def initialize(self, user: Any) -> None:
        self.user = user

    @property
    def current_user(self) -> Any:
        return self.user


def _handler(hosted: Hosted, user: Any, request: Facts | None) -> Any:
    """Return a handler of the request for which a user is refreshed."""
    if request is None:
        return None
    made, _ = make_request(request, Exchange(current_user=user.name))
    return RefreshHandler(hosted.application, made, user=user)


async def reconcile_auth_state(hosted: Hosted, asked: Facts) -> Any:
    """Return the auth state that the hook makes of the new and the existing one.

    Keys of `asked`: `answer`, `by` (see `Hosted.authenticators`), and `existing`, which
    is None if nothing is kept.
    """
    authenticator = hosted.authenticators[asked["by"]]
    return await maybe_future(
        authenticator.reconcile_auth_state_hook(
            authenticator, asked["answer"], asked["existing"]
        )
    )


async def check_allowed(hosted: Hosted, asked: Facts) -> bool:
    """Ask the class whether a user may enter whom it has not just authenticated.

    `asked` has the facts of the `user`. A class that needs more than these to decide
    raises an error, and nobody enters then.
    """
    hosted.put_users(())
    hosted.put_user(asked["user"])
    found, name = hosted.authenticator, asked["user"]["name"]
    model = {"user_info": None, "auth_state": None, **asked["user"]}
    if not found.validate_username(name):
        return False
    if not await maybe_future(found.check_blocked_users(name, model)):
        return False
    if found.allow_all:
        return True
    return bool(await maybe_future(found.check_allowed(name, model)))


async def add_users(hosted: Hosted, asked: Facts) -> dict[str, str]:
    """Have the class prepare accounts; return the errors by name."""
    return await _for_each(hosted, asked["users"], hosted.authenticator.add_user)


async def delete_users(hosted: Hosted, asked: Facts) -> dict[str, str]:
    """Have the class forget accounts; return the errors by name."""
    return await _for_each(hosted, asked["users"], hosted.authenticator.delete_user)


async def _for_each(
    hosted: Hosted, users: list[Facts], act: Callable[[Any], Any]
) -> dict[str, str]:
    failed = {}
    for user in _put_many(hosted, users):
        name = user.name
        try:
            await maybe_future(act(user))
        except Exception as problem:
            log.debug("%s failed for %s", act, name, exc_info=problem)
            failed[name] = str(problem) or type(problem).__name__
    return failed


def _put_many(hosted: Hosted, users: list[Facts]) -> list[Any]:
    """Put many users without groups, which takes a tenth of the time of `put_user`."""
    hosted.put_users(())
    rows = [
        orm.User(name=facts["name"], admin=bool(facts.get("admin"))) for facts in users
    ]
    hosted.db.add_all(rows)
    # A commit would have each row read again.
    hosted.db.flush()
    found = [KnownUser(row, hosted.application.settings) for row in rows]
    for row, user in zip(rows, found, strict=True):
        dict.__setitem__(hosted.users, row.id, user)
    return found


async def load_managed_roles(hosted: Hosted, asked: Facts) -> list[Facts]:
    """Return the roles that the class defines at a start, as in `load_roles`."""
    found = await hosted.authenticator.load_managed_roles()
    return [dict(role) for role in found]
