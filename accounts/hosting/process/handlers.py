"""Methods of JupyterHub's base handler, replaced once for the whole process.

This process has no users and no sessions. A handler's result about a person
becomes an *answer*, which the hub gets with the response:

    name        as the class returned it, after its own checks
    admin       True, False, or None if the class has no opinion
    groups      names, or None
    roles       as `load_roles`, or None
    auth_state  anything that JSON can hold, or None
    user_info   the same
    by          the number of the instance that answered, see `Hosted.authenticators`
    adds_user   whether that instance prepares new accounts (`add_user`)
    reconciles  whether it has a hook for new and kept auth state
    saved       auth state that was saved besides, by the names of users

A handler that has only a name gives no more than the name, and then JupyterHub does
not call `add_user` either.

`install` replaces public methods of `BaseHandler`, from which all handlers inherit.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers.base import BaseHandler
from tornado.web import HTTPError

from accounts.hosting.process.requests import exchange_of

# Pages that the hub shows itself, with the values of their templates that it needs.
PAGES = {
    "login.html": (
        *("login_error", "username", "custom_html", "login_service", "message"),
        *("authenticator_login_url", "request_otp", "otp_prompt"),
    ),
    "error.html": ("status_message", "message"),
    "logout.html": (),
}


class Placeholder(str):
    """A page that the hub renders; a text for some callers, an awaitable for others."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, Placeholder]:
        yield from ()
        return self


def install() -> None:
    """Replace the methods; a second call changes nothing."""
    for name, method in REPLACED.items():
        setattr(BaseHandler, name, method)


def get_current_user_cookie(handler: Any) -> Any:
    """Return the user whose session the hub has verified, or None."""
    name = exchange_of(handler).current_user
    return handler.find_user(name) if name else None


def get_current_user_token(handler: Any) -> None:
    """Return None, because the hub answers requests with tokens itself."""


async def refresh_auth(handler: Any, user: Any, force: bool = False) -> Any:
    """Return the user, because the hub decides when the class is asked again."""
    return user


def find_user(handler: Any, name: str) -> Any:
    """Return a user of whom the hub has sent facts, or None."""
    return handler.users.get(name)


def user_from_username(handler: Any, username: str) -> Any:
    """Return a user, who exists afterwards, in this process only."""
    return find_user(handler, username) or handler.app.hosted.put_user(
        {"name": username}
    )


async def authenticate(handler: Any, data: Any) -> Any:
    """Have the class authenticate somebody, and note whether nobody may enter."""
    found = await authenticate_as_before(handler, data)
    exchange_of(handler).is_refused = not found
    return found


async def auth_to_user(handler: Any, authenticated: Any, user: Any = None) -> Any:
    """Note what the class returned, and return a stand-in for the account."""
    if isinstance(authenticated, str):
        authenticated = {"name": authenticated}
    authenticator = handler.authenticator
    answer = answer_of(authenticator, authenticated)
    answer["by"] = handler.app.hosted.number_of(authenticator)
    answer["adds_user"] = is_overridden(authenticator, "add_user")
    if user is not None and answer["name"] != user.name:
        raise ValueError(f"Username doesn't match! {answer['name']} != {user.name}")
    exchange_of(handler).answer = answer
    if user is None:
        user = user_from_username(handler, answer["name"])
    if answer["admin"] is not None:
        user.admin = answer["admin"]
    user.user_info = answer["user_info"]
    await user.save_auth_state(answer["auth_state"])
    # What is saved after this replaces the answer's.
    user.has_saved = False
    handler.db.commit()
    return user


def is_overridden(authenticator: Any, method: str) -> bool:
    """Return whether a class has a method of its own in place of JupyterHub's."""
    return getattr(type(authenticator), method) is not getattr(Authenticator, method)


def answer_of(authenticator: Any, authenticated: dict[str, Any]) -> dict[str, Any]:
    """Return a class's authentication model as JSON can hold it."""
    name = authenticated["name"]
    groups, roles = None, None
    if authenticator.manage_groups:
        if "groups" not in authenticated:
            raise ValueError(
                f"{type(authenticator).__name__} returned no groups for {name!r}, and "
                "manage_groups is set: every answer must have groups then"
            )
        found = authenticated["groups"]
        groups = None if found is None else [str(group) for group in found]
    if authenticator.manage_roles:
        roles = authenticated.get("roles")
    admin = authenticated.get("admin")
    keeps = authenticator.enable_auth_state
    return {
        "name": str(name),
        "admin": None if admin is None else bool(admin),
        "groups": groups,
        "roles": roles,
        "auth_state": authenticated.get("auth_state") if keeps else None,
        "user_info": authenticated.get("user_info"),
        "reconciles": bool(
            keeps and getattr(authenticator, "reconcile_auth_state_hook", None)
        ),
    }


def set_login_cookie(handler: Any, user: Any) -> None:
    """Sign the person in: the hub begins a session when it gets the response."""
    exchange = exchange_of(handler)
    if exchange.answer is None:
        # Some plugins skip `authenticate` and know nothing but a name.
        exchange.answer = {"name": user.name}
    exchange.is_signed_in = True


def set_hub_cookie(handler: Any, user: Any) -> None:
    """Do nothing for a person, and end the request if there is none.

    Some plugins ask for this also after a refusal, and then lead the browser to a page
    that leads back to them.
    """
    if user is None:
        raise HTTPError(403)


def nothing(handler: Any, *args: Any, **kwargs: Any) -> None:
    """Do nothing: the hub sets and deletes its own cookies."""


def clear_login_cookie(handler: Any, name: str | None = None) -> None:
    """Note that the person signs out."""
    exchange_of(handler).is_signed_out = True


def render_template(handler: Any, name: str, sync: bool = False, **values: Any) -> Any:
    """Note the values of a page that the hub shows itself, and render others."""
    wanted = PAGES.get(name)
    if wanted is None:
        return render_other(handler, name, sync=sync, **values)
    exchange = exchange_of(handler)
    for key in ("login_service", "request_otp", "otp_prompt"):
        values.setdefault(key, getattr(handler.authenticator, key))
    exchange.page = {"template": name.removesuffix(".html")} | {
        key: values[key] if isinstance(values[key], int) else str(values[key])
        for key in wanted
        if values.get(key) is not None
    }
    return Placeholder()


render_other: Any = BaseHandler.render_template
authenticate_as_before: Any = BaseHandler.authenticate

REPLACED: dict[str, Any] = {
    "get_current_user_cookie": get_current_user_cookie,
    "get_current_user_token": get_current_user_token,
    "refresh_auth": refresh_auth,
    "find_user": find_user,
    "user_from_username": user_from_username,
    "authenticate": authenticate,
    "auth_to_user": auth_to_user,
    "set_login_cookie": set_login_cookie,
    "set_hub_cookie": set_hub_cookie,
    "set_service_cookie": nothing,
    "set_session_cookie": nothing,
    "clear_login_cookie": clear_login_cookie,
    "render_template": render_template,
    "check_xsrf_cookie": nothing,
    "xsrf_token": property(lambda handler: exchange_of(handler).xsrf.encode()),
}
