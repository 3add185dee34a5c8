"""The pages of a hosted class: the sign-in page, and the paths of its own handlers.

`answer_page` has the class answer a request, and signs the person in whom the class
vouches for, in the same response. So a sign-in belongs to the browser that the class
has seen, and nothing that signs a person in ever leaves the hub.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from accounts.adapter import not_listed, refuse
from accounts.attempts import Attempt, TooMany
from accounts.hosting.client import ClassFailed
from accounts.hosting.forwarding import destination_after_sign_in
from accounts.hosting.requests import Exchanged, accounts_of, exchange
from accounts.hosting.sign_in import settle_answer
from accounts.landing import default_target, landing_pages
from accounts.models import User
from accounts.naming import normalise_name
from accounts.proof import note_proof
from accounts.sessions import set_session_id_cookie
from scopes.refusals import Refusal, Unavailable

logger = structlog.get_logger(__name__)

# Shows the sign-in page with more values, and a status.
Page = Callable[[dict[str, Any], int], HttpResponse]
# Returns the page to open after the sign-in, given where the class leads.
Target = Callable[[User, str], str]

FAILED = (
    "Signing in failed because of an error in the program that checks who signs in. "
    "An administrator of this hub finds the reason in its log."
)
# For classes that say nothing.
REFUSED = {
    401: "Nobody is signed in at the site that this hub relies on.",
    403: "You may not sign in to this hub. An administrator of this hub can help you.",
}


def answer_page(
    request: HttpRequest, show: Page, target_of: Target, problem: str = ""
) -> HttpResponse:
    """Have the class answer; with a `problem` nobody is signed in.

    Failures count if the request has a name or a password, because these are typed.
    """
    if problem:
        return _show(request, show, problem)
    if request.method != "POST" or not {"username", "password"} & request.POST.keys():
        return respond(request, exchange(request), show, target_of)
    typed = request.POST.get("username", "").strip()
    attempt = Attempt(request, normalise_name(typed))
    try:
        attempt.begin()
    except TooMany as refused:
        return _show(request, show, str(refused))
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


def _show(request: HttpRequest, show: Page, problem: str) -> HttpResponse:
    """Show the page, with what the class has to say about it."""
    values = {"problem": problem, "username": request.POST.get("username", "")}
    page = exchange(request, method="GET").page or {}
    if page.get("template") != "login":
        # The path of a handler that has no form.
        return report(request, HTTPStatus.FORBIDDEN, problem)
    return show({**page, **values}, HTTPStatus.FORBIDDEN)


def respond(
    request: HttpRequest, found: Exchanged, show: Page, target_of: Target
) -> HttpResponse:
    """Return the response to what the class has answered."""
    if found.answer is not None:
        response = sign_in(request, found, target_of)
    elif found.page is None:
        return found.response(request)
    elif found.page["template"] == "login":
        problem = found.page.get("login_error", "")
        if found.status >= 500 and not found.page.get("message"):
            problem = FAILED
        response = show({**found.page, "problem": problem}, found.status)
    elif found.page["template"] == "logout":
        response = render(request, "account/signed_out.html")
    else:
        words = found.page.get("message") or ""
        if found.status >= 500:
            words = words or FAILED
        response = report(request, found.status, words or REFUSED.get(found.status, ""))
    found.set_cookies(response)
    return response


def sign_in(request: HttpRequest, found: Exchanged, target_of: Target) -> HttpResponse:
    """Sign in the person of an answer, or return the page that says why not."""
    answer: dict[str, Any] = found.answer or {}
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
    return begin_session(request, user, target_of(user, found.location))


def begin_session(request: HttpRequest, user: User, target: str) -> HttpResponse:
    """Sign a person in, or ask for the second factor first; lead to a page.

    A browser in which another person is signed in switches to this one. The session of
    the same person goes on, so that signing out ends all that was begun in it. For
    somebody with a second factor the class alone is no proof: its provider may answer
    without asking whoever sits at the browser.
    """
    if request.user.is_authenticated:
        if request.user.pk == user.pk:
            if not is_mfa_enabled(user):
                note_proof(request)
            again = HttpResponseRedirect(target)
            set_session_id_cookie(request, again)
            return again
        get_adapter(request).logout(request)
    request.admitted_by_class = user.pk  # type: ignore[attr-defined]
    login = Login(user=user, redirect_url=target)
    credentials = {"username": user.name}
    response: HttpResponse = perform_password_login(request, credentials, login)
    return response


def target_of_class(request: HttpRequest, user: User, location: str) -> str:
    """Return the page to which a class leads after a sign-in, if it is on this hub.

    The class does not know whether the person's server runs, so it leads to the page
    that starts one.
    """
    wanted = destination_after_sign_in(request, location)
    path, mark, query = wanted.partition("?")
    if path == f"{settings.HUB_PREFIX}spawn":
        running = next(filter(None, landing_pages(user)), "")
        return f"{running or path}{mark}{query}"
    return wanted or default_target(user)


def report(request: HttpRequest, status: int, words: str) -> HttpResponse:
    """Return a page with an error of the class."""
    title = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Error"
    context = {"code": status, "title": title, "explanation": words}
    return render(request, "error.html", context, status=status)
