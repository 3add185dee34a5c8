"""The sign-in page of a hosted class, and the paths of its own handlers.

`answer_login` answers `/hub/login`. Other paths of the class's handlers are not
answered here yet: a view for them makes the same `exchange`, takes the answer from it
and calls `settle_answer` and `begin_session`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.adapter import not_listed, refuse
from accounts.attempts import Attempt, TooMany
from accounts.hosting.client import ClassFailed
from accounts.hosting.exchange import Exchanged, accounts_of, exchange
from accounts.hosting.sign_in import begin_session, settle_answer
from accounts.models import User
from accounts.naming import normalise_name
from scopes.refusals import Refusal, Unavailable

logger = structlog.get_logger(__name__)

# Shows the sign-in page with more values, and a status.
Page = Callable[[dict[str, Any], int], HttpResponse]
# Returns the page to open after the sign-in.
Target = Callable[[User], str]

FAILED = (
    "Signing in failed because of an error in the program that checks who signs in. "
    "An administrator of this hub finds the reason in its log."
)


def answer_login(
    request: HttpRequest, show: Page, target_of: Target, problem: str = ""
) -> HttpResponse:
    """Answer the sign-in page by the class; with a `problem` nobody is signed in."""
    if request.method != "POST" or problem:
        return _show(request, show, target_of, problem)
    typed = request.POST.get("username", "").strip()
    attempt = Attempt(request, normalise_name(typed))
    try:
        attempt.begin()
    except TooMany as refused:
        return _show(request, show, target_of, str(refused))
    try:
        found = exchange(request, users=accounts_of(typed))
        if found.answer is not None or not 400 <= found.status < 500:
            attempt.withdraw()
        else:
            attempt.fail()
            get_adapter(request).authentication_failed(request, username=typed)
    except Exception:
        # A password that could not be checked is no failure.
        attempt.withdraw()
        raise
    return respond(request, found, show, target_of)


def _show(
    request: HttpRequest, show: Page, target_of: Target, problem: str
) -> HttpResponse:
    """Show the page, with what the class has to say about it."""
    if not problem:
        return respond(request, exchange(request), show, target_of)
    values = {"problem": problem, "username": request.POST.get("username", "")}
    page = exchange(request, method="GET").page or {}
    return show({**page, **values}, HTTPStatus.FORBIDDEN)


def respond(
    request: HttpRequest, found: Exchanged, show: Page, target_of: Target
) -> HttpResponse:
    """Return the response to what the class has answered."""
    if found.answer is not None:
        response = sign_in(request, found.answer, target_of)
    elif found.page is None:
        return found.response()
    elif found.page["template"] == "login":
        problem = found.page.get("login_error", "")
        if found.status >= 500 and not found.page.get("message"):
            problem = FAILED
        response = show({**found.page, "problem": problem}, found.status)
    else:
        words = found.page.get("message") or found.page.get("status_message", "")
        response = report(request, found.status, words)
    found.set_cookies(response)
    return response


def sign_in(
    request: HttpRequest, answer: dict[str, Any], target_of: Target
) -> HttpResponse:
    """Sign in the person of an answer, or return the page that says why not."""
    try:
        user = settle_answer(answer, address=request.META.get("REMOTE_ADDR", ""))
    except ClassFailed:
        return report(request, 500, FAILED)
    except Unavailable:
        raise
    except Refusal as problem:
        # The class returned what can't be stored, such as a role with an unknown scope.
        logger.error("the authenticator's answer is refused", problem=problem.message)
        return report(request, problem.status, problem.for_people)
    if user is None:
        get_adapter(request).authentication_failed(request, username=answer["name"])
        return refuse(request, not_listed(answer["name"]))
    return begin_session(request, user, target_of(user))


def report(request: HttpRequest, status: int, words: str) -> HttpResponse:
    """Return a page with an error of the class."""
    title = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Error"
    context = {"code": status, "title": title, "explanation": words}
    return render(request, "error.html", context, status=status)
