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

from accounts.adapter import not_listed, record_refusal, refuse
from accounts.attempts import Attempt, TooMany, requests_within
from accounts.hosting.client import ClassFailed
from accounts.hosting.forwarding import destination_after_sign_in
from accounts.hosting.requests import Exchanged, accounts_of, exchange
from accounts.hosting.sign_in import settle_answer
from accounts.landing import default_target, landing_pages
from accounts.models import User
from accounts.naming import normalise_name
from accounts.proof import note_proof
from accounts.sessions import set_session_id_cookie
from database.storable import storable
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


# Statuses of pages that do not exist, and of requests that no page accepts.
NO_REFUSALS = frozenset({404, 405, 413})
# Fields that only sign-ins have: OAuth, OpenID Connect, LTI 1.1 and SAML.
OF_SIGN_INS = frozenset(
    {"code", "state", "error", "id_token", "oauth_signature", "SAMLResponse"}
)
# Fields with words of a provider.
OF_PROVIDERS = frozenset({"error", "error_description"})
SHORTEST_SECRET = 6
LONGEST_REASON = 300
# Refusals of one network within an hour that are recorded, because nobody has to prove
# anything to be refused.
MOST_NOTED = 100
OUT = "The account is deactivated, or the name is blocked or can't be a username."


def answer_page(
    request: HttpRequest, show: Page, target_of: Target, problem: str = ""
) -> HttpResponse:
    """Have the class answer; with a `problem` nobody is signed in.

    Failures count if the request has a name or a password, because these are typed.
    """
    if problem:
        return _show(request, show, problem)
    if request.method != "POST" or not {"username", "password"} & request.POST.keys():
        found = exchange(request)
        if is_refusal(request, found):
            note_refusal(request, words_of(found))
        return respond(request, found, show, target_of)
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
    if found.is_signed_out and found.answer is None and request.user.is_authenticated:
        get_adapter(request).logout(request)
    if found.answer is not None:
        response = sign_in(request, found, target_of)
    elif found.page is None:
        return found.response(request)
    elif found.page["template"] == "login":
        response = show({**found.page, "problem": words_of(found)}, found.status)
    elif found.page["template"] == "logout":
        response = render(request, "account/signed_out.html")
    else:
        response = report(request, found.status, words_of(found))
    found.set_cookies(response)
    return response


def words_of(found: Exchanged) -> str:
    """Return what a page of the class says about a refusal or an error."""
    page: dict[str, str] = found.page or {}
    if found.status >= 500 and not page.get("message"):
        return FAILED
    if page.get("template") == "login":
        return page.get("login_error", "")
    return page.get("message") or REFUSED.get(found.status, "")


def is_refusal(request: HttpRequest, found: Exchanged) -> bool:
    """Return whether a class without a form has refused a sign-in.

    For people with a session, other errors are those of the class's other pages.
    """
    if found.answer is not None or found.is_refused:
        return found.answer is None
    if found.status in NO_REFUSALS:
        return False
    is_login = (found.page or {}).get("template") == "login"
    if found.status < 400 and not (is_login and words_of(found)):
        return False
    sent = request.GET.keys() | request.POST.keys()
    return not request.user.is_authenticated or bool(sent & OF_SIGN_INS)


def note_refusal(request: HttpRequest, words: str, name: str = "") -> None:
    """Record a refusal with the class's name and its words.

    What the request contains may be a secret, and a class may repeat it; only the words
    of the provider are recorded.
    """
    if requests_within("refusals", MOST_NOTED, request.META.get("REMOTE_ADDR", "")):
        return
    for sent in (request.GET, request.POST):
        for key, values in sent.lists():
            for value in values if key not in OF_PROVIDERS else ():
                if len(value) >= SHORTEST_SECRET:
                    words = words.replace(value, "…")
    record_refusal(
        request,
        name,
        authenticator=settings.HUB.hosted_class,
        reason=storable(" ".join(words.split())[:LONGEST_REASON]) or REFUSED[403],
    )


def sign_in(request: HttpRequest, found: Exchanged, target_of: Target) -> HttpResponse:
    """Sign in the person of an answer, or return the page that says why not."""
    answer: dict[str, Any] = found.answer or {}
    try:
        user = settle_answer(answer, address=request.META.get("REMOTE_ADDR", ""))
    except ClassFailed:
        note_refusal(request, FAILED, answer["name"])
        return report(request, 500, FAILED)
    except Unavailable:
        raise
    except Refusal as problem:
        # The class returned what can't be stored, such as a role with an unknown scope.
        note_refusal(request, problem.for_people, answer["name"])
        logger.error("the authenticator's answer is refused", problem=problem.message)
        return report(request, problem.status, problem.for_people)
    if user is None:
        note_refusal(request, OUT, answer["name"])
        return refuse(request, not_listed(answer["name"]))
    response = begin_session(request, user, target_of(user, found.location))
    is_in = request.user.is_authenticated and request.user.pk == user.pk
    if found.location or found.page is not None or not is_in:
        return response
    # A handler that answers programs leads nowhere, and its own response counts.
    own = found.response(request)
    own.cookies.update(response.cookies)
    return own


def begin_session(request: HttpRequest, user: User, target: str) -> HttpResponse:
    """Sign a person in, or ask for the second factor first; lead to a page.

    A browser in which another person is signed in switches to this one. The session of
    the same person goes on, so that signing out ends all that was begun in it. For
    somebody with a second factor the class alone is no proof: its provider may answer
    without asking the person at the browser.
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
