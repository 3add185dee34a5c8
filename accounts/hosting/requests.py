"""A browser's request, answered by the hosted class.

The facts of the request that the class gets are those that the hub has verified: the
browser's address and the public host and protocol, whatever proxies stand between (see
`forwarding`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse
from django.http.request import RawPostDataException

from accounts import auth_state
from accounts.answers import Answer
from accounts.hosting import client
from accounts.hosting.description import description
from accounts.hosting.forwarding import headers_of, take_cookies, take_headers
from accounts.models import User
from accounts.naming import spellings
from scopes.refusals import Refusal
from web.paths import spelt_address
from web.xsrf import get_token

logger = structlog.get_logger(__name__)

# The type of a form without files.
FORM: Final = "application/x-www-form-urlencoded"
# Attempts to tell the host all accounts while others are made.
TRIES = 5
# Most users of whom facts are sent with one request.
MOST_USERS = 10
# The types of forms, which the hub and the class read alike.
FORMS: Final = (FORM, "multipart/form-data")


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
    is_refused: bool = False
    is_signed_out: bool = False

    @property
    def location(self) -> str:
        """Return the address of a redirect, or an empty text."""
        found = [value for name, value in self.headers if name.lower() == "location"]
        return found[-1] if found else ""

    def response(self, request: HttpRequest) -> HttpResponse:
        """Return the class's own response, for the browser."""
        response = HttpResponse(self.body, status=self.status)
        take_headers(request, response, self.headers)
        return response

    def set_cookies(self, response: HttpResponse) -> None:
        """Copy the class's cookies to another response."""
        take_cookies(response, self.headers)


def exchange(
    request: HttpRequest,
    *,
    users: list[User] | None = None,
    method: str = "",
    uri: str = "",
) -> Exchanged:
    """Have the class's handlers answer a request as it is, or with other facts.

    `users` are accounts that the class may look up, besides that of the session. What
    the class saves about users is stored, unless it signs somebody in: then it is in
    the answer.
    """
    known = {each.name: each for each in (users or [])[:MOST_USERS]}
    user = request.user
    if isinstance(user, User):
        known.setdefault(user.name, user)
    facts = [facts_of(each) for each in known.values()]
    if auth_state.is_available():
        for each in facts:
            pk = known[each["name"]].pk
            each["auth_state"] = auth_state.read(pk, each["name"])
    asked = {
        **request_facts(request),
        "method": method or request.method,
        **({"uri": uri} if uri else {}),
        "headers": headers_for(request),
        "body": b64encode(b"" if method else body_of(request)).decode(),
        "current_user": user.name if isinstance(user, User) else "",
        "xsrf": get_token(request),
        "users": facts,
    }
    found = ask(asked)
    keep_saved(found["saved"])
    return Exchanged(
        status=found["status"],
        headers=[(name, value) for name, value in found["headers"]],
        body=b64decode(found["body"]),
        page=found["page"],
        answer=found["answer"],
        is_refused=found["is_refused"],
        is_signed_out=found["is_signed_out"],
    )


def keep_saved(states: dict[str, Any]) -> None:
    """Store auth state that the class has saved by `user.save_auth_state()`.

    The class has finished by then, so what can't be stored is logged and left out.
    """
    for user in User.objects.filter(name__in=states) if states else ():
        try:
            answer = Answer.read({"name": user.name, "auth_state": states[user.name]})
            auth_state.save(user.pk, answer.auth_state)
        except Refusal as problem:
            logger.error(
                "auth state that the authenticator saved can't be stored",
                user=user.name,
                problem=problem.message,
            )


def ask(asked: dict[str, Any], call: str = "respond") -> Any:
    """Make a call about who may enter; first tell the host who has an account.

    A class with `allow_existing_users` admits everybody with an account, and has the
    name of a person only when another site has sent it.
    """
    if not description().allow_existing_users:
        return client.call(call, asked)
    for _ in range(TRIES):
        asked |= User.objects.aggregate(count=Count("pk"), last=Max("pk", default=0))
        found = client.call(call, asked)
        if not isinstance(found, dict) or "knows" not in found:
            return found
        tell_accounts(found["knows"], asked["count"], asked["last"])
    raise client.ClassFailed("accounts changed all the time")


def tell_accounts(knows: dict[str, int], count: int, last: int) -> None:
    """Tell the host the names of accounts that it does not know."""
    users = User.objects.filter(pk__lte=last).values_list("name", flat=True)
    names = list(users.filter(pk__gt=knows["last"])) if knows["count"] >= 0 else []
    is_all = knows["count"] + len(names) != count
    if is_all:
        names = list(users)
    client.call(
        "know_accounts",
        {"names": names, "is_all": is_all, "count": count, "last": last},
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


def request_facts(request: HttpRequest) -> dict[str, Any]:
    """Return what a class may know of a request, without the body and its type."""
    return {
        "method": request.method,
        "uri": spelt_address(request),
        "headers": [
            (name, value)
            for name, value in headers_of(request)
            if name.lower() != "content-type"
        ],
        "remote_ip": request.META.get("REMOTE_ADDR", ""),
        "protocol": request.scheme,
    }


def headers_for(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the headers for the class, with the type of `body_of`.

    Tornado takes every type for a form's that begins with one. If the hub has read no
    form, the class reads none, because failures are counted by the fields of the form.
    """
    found = list(headers_of(request))
    sent = (request.content_type or "").strip().lower()
    if _was_read(request):
        found = [pair for pair in found if pair[0].lower() != "content-type"]
        found.append(("Content-Type", FORM))
    elif sent.startswith(FORMS) and sent not in FORMS:
        found = [pair for pair in found if pair[0].lower() != "content-type"]
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
