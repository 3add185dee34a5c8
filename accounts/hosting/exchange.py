"""A browser's request, answered by the hosted class.

The facts of the request that the class gets are those that the hub has verified: the
browser's address and the public host and protocol, whatever proxies stand between.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import RawPostDataException

from accounts.hosting import client
from accounts.models import User
from accounts.naming import spellings
from web.xsrf import get_token

# Headers of one connection, and the hub's own for its session.
NOT_FORWARDED = frozenset(
    {
        *("connection", "content-length", "keep-alive", "proxy-authorization"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
# Most users of whom facts are sent with one request.
MOST_USERS = 10


@dataclass(frozen=True)
class Exchanged:
    """The response of the class, and what else it has done.

    `page` is a page that the hub shows itself, with the values that the class's handler
    gives to it: `template` (`login`, `error` or `logout`), `login_error`, `username`,
    `custom_html`, `login_service`, `status_message`. `answer` says who has signed in.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    page: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    is_signed_out: bool = False

    @property
    def location(self) -> str:
        """Return the address of a redirect, or an empty text."""
        found = [value for name, value in self.headers if name.lower() == "location"]
        return found[-1] if found else ""

    def response(self) -> HttpResponse:
        """Return the class's own response, for the browser."""
        response = HttpResponse(self.body, status=self.status)
        for name, value in self.headers:
            if name.lower() not in DROPPED:
                response[name] = value
        self.set_cookies(response)
        return response

    def set_cookies(self, response: HttpResponse) -> None:
        """Copy the class's cookies to another response."""
        for name, value in self.headers:
            if name.lower() == "set-cookie":
                _copy_cookie(response, value)


# Headers that the hub sets itself, or that belong to a connection.
DROPPED = frozenset(
    {
        *("connection", "content-length", "date", "server", "set-cookie"),
        *("transfer-encoding", "x-jupyterhub-version", "content-security-policy"),
    }
)


def exchange(
    request: HttpRequest, *, users: list[User] | None = None, method: str = ""
) -> Exchanged:
    """Have the class's handlers answer a request as it is, or by another method.

    `users` are accounts that the class may look up, besides that of the session.
    """
    facts = [facts_of(user) for user in (users or [])[:MOST_USERS]]
    user = request.user
    if isinstance(user, User) and user.name not in {each["name"] for each in facts}:
        facts.append(facts_of(user))
    asked = {
        "method": method or request.method,
        "uri": request.get_full_path(),
        "headers": headers_of(request),
        "body": b64encode(b"" if method else body_of(request)).decode(),
        "remote_ip": request.META.get("REMOTE_ADDR", ""),
        "protocol": request.scheme,
        "current_user": user.name if isinstance(user, User) else "",
        "xsrf": get_token(request),
        "users": facts,
    }
    found = client.call("respond", asked)
    return Exchanged(
        status=found["status"],
        headers=[(name, value) for name, value in found["headers"]],
        body=b64decode(found["body"]),
        page=found["page"],
        answer=found["answer"],
        is_signed_out=found["is_signed_out"],
    )


def accounts_of(typed: str) -> list[User]:
    """Return the accounts that a typed name may mean."""
    names = spellings(typed)
    return list(User.objects.filter(name__in=names)) if names else []


def facts_of(user: User) -> dict[str, Any]:
    """Return what a class may know of an account."""
    return {
        "name": user.name,
        "admin": user.admin,
        "groups": list(user.groups.values_list("name", flat=True)),
    }


def headers_of(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the headers for the class, without the session of the hub."""
    found = []
    for name, value in request.headers.items():
        key = name.lower()
        if key in NOT_FORWARDED:
            continue
        if key == "host":
            value = request.get_host()
        elif key == "cookie":
            value = "; ".join(
                part.strip()
                for part in value.split(";")
                if part.partition("=")[0].strip() != settings.SESSION_COOKIE_NAME
            )
        elif key == "content-type" and _was_read(request):
            value = "application/x-www-form-urlencoded"
        found.append((name, value))
    return found


def body_of(request: HttpRequest) -> bytes:
    """Return the body as the browser sent it."""
    if _was_read(request):
        # A form with several parts; files are left out, as in JupyterHub.
        return urlencode(list(_fields(request))).encode()
    return request.body


def _was_read(request: HttpRequest) -> bool:
    try:
        request.body  # noqa: B018 - reading it tells
    except RawPostDataException:
        return True
    return False


def _fields(request: HttpRequest) -> Any:
    for name, values in request.POST.lists():
        for value in values:
            yield name, value


def _copy_cookie(response: HttpResponse, text: str) -> None:
    parsed: SimpleCookie = SimpleCookie()
    try:
        parsed.load(text)
    except CookieError:
        return
    for name, morsel in parsed.items():
        if name not in (settings.SESSION_COOKIE_NAME, "_xsrf"):
            response.cookies[name] = morsel
