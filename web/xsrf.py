"""Forged requests are told from real ones by JupyterHub's rules.

A page hands out a value twice: in the `_xsrf` cookie and in its form, where scripts
find it as well. Whoever sends both back equal has read a page of ours. The value is
signed for one session and user, or for one browser as long as nobody has signed in, so
that a value from elsewhere is worth nothing. Of several cookies any that is valid
counts.

Pages and the admin are checked by the middleware, in place of Django's own. The API
calls `request.check_xsrf()` itself, for it alone knows whether a cookie or a token
speaks.

Pages are for people who go to them. A script that fetches one for a person who is
signed in must send the value as well: without hosts of their own (`subdomain_host`),
pages of users' servers share the hub's origin, and could read what it shows.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.crypto import constant_time_compare

from scopes.refusals import Forbidden
from web.callers import Caller
from web.cookies import values_of

NAME = "_xsrf"
HEADERS = ("HTTP_X_XSRFTOKEN", "HTTP_X_CSRFTOKEN")
ANONYMOUS_SECONDS = 3600
PLAIN = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
SCRIPTS_REFUSED = (
    "Pages of the hub can be opened by people and by the hub's own scripts only.\n"
)


def get_token(request: Any) -> str:
    """The value for this request's forms; the middleware sends it as cookie, too.

    A script that has not proved itself gets none, on whatever page it is answered with.
    """
    if is_unproven_script(request):
        return ""
    binding = _binding(request)
    made_for, token = getattr(request, "_xsrf_token", ("", ""))
    if made_for == binding:
        return token
    # A form should outlive the hour that an anonymous value has; so a value is
    # handed out again only during the first half of it.
    valid = _valid_cookies(request, binding, ANONYMOUS_SECONDS // 2)
    token = valid[0] if valid else _signer(binding).sign(secrets.token_urlsafe(16))
    request._xsrf_token = (binding, token)
    return token


def is_needed(request: HttpRequest) -> bool:
    """Whether an API request that a cookie authenticates must prove its origin.

    Scripts must, even to read, since a reply may be caught by whoever makes a
    browser ask for it. Typing an address or following a link need not.
    """
    mode = request.META.get("HTTP_SEC_FETCH_MODE", "navigate")
    if request.method in ("HEAD", "OPTIONS") or mode == "websocket":
        return False
    if request.method == "GET":
        same_origin = request.META.get("HTTP_SEC_FETCH_SITE") == "same-origin"
        # An image or a script of a page of ours; a script that fetches says `empty`,
        # and could read what it gets.
        is_part = request.META.get("HTTP_SEC_FETCH_DEST") != "empty"
        if mode == "navigate" or (mode == "no-cors" and same_origin and is_part):
            return False
    return True


def is_unproven_script(request: Any) -> bool:
    """Whether a script asks in the name of somebody who is signed in, without proof.

    Browsers tell by `Sec-Fetch-Mode` that a person goes to a page. What sends no such
    header is a program, or a browser on a connection that is open to others anyway.
    """
    if not hasattr(request, "_is_unproven_script"):
        mode = request.META.get("HTTP_SEC_FETCH_MODE", "navigate")
        request._is_unproven_script = (
            mode != "navigate"
            and request.user.is_authenticated
            and bool(find_problem(request))
        )
    found: bool = request._is_unproven_script
    return found


def check(request: Any) -> None:
    """Refuse an API request that carries a cookie but no proof of its origin.

    Call it only where no token authenticates. Strangers pass, unless a page makes
    them ask: they are refused for lack of credentials, with a message that helps more.
    """
    if not request.user.is_authenticated and request.caller is not Caller.PAGE:
        return
    if is_needed(request) and (problem := find_problem(request)):
        raise Forbidden(problem)


def find_problem(request: HttpRequest) -> str:
    """Say what is wrong with the request's XSRF value; empty if nothing is."""
    # Django's test client asks for this, as for Django's own check.
    if getattr(request, "_dont_enforce_csrf_checks", False):
        return ""
    sent = _sent_value(request)
    if not sent:
        return f"'{NAME}' argument missing from {request.method}"
    binding = _binding(request)
    valid = _valid_cookies(request, binding, ANONYMOUS_SECONDS)
    if any(constant_time_compare(sent, cookie) for cookie in valid):
        return ""
    # A browser that has lost the cookie may go on reading: the value alone proves that
    # it comes from a page of the same session.
    is_reading = request.method == "GET" and request.user.is_authenticated
    if is_reading and not valid and _is_signed_for(binding, sent, ANONYMOUS_SECONDS):
        return ""
    return f"XSRF cookie does not match {request.method} argument"


def is_page(response: HttpResponse) -> bool:
    """Whether an answer is HTML that somebody could read."""
    return (
        not response.streaming
        and response.headers.get("Content-Type", "").startswith("text/html")
        and bool(response.content)
    )


class XSRFMiddleware:
    """Checks every changing request to a page, and sends the cookie along.

    A view whose class sets `answers_xsrf_problem` is called in spite of a problem
    and finds it in `request.xsrf_problem`. One that sets `answers_scripts` is called
    by scripts of any page, which can follow its redirects and read no page of it. Views
    exempt from Django's check, such as the API's, are left alone.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if is_page(response) and is_unproven_script(request):
            # It may read what it gets, and a page tells more than the status.
            return HttpResponse(
                SCRIPTS_REFUSED, status=max(response.status_code, 403), headers=PLAIN
            )
        if hasattr(request, "_xsrf_token") or self._has_new_session(request):
            self._set_cookie(request, response)
        return response

    def process_view(
        self,
        request: Any,
        view: Callable[..., HttpResponse],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HttpResponse | None:
        # The admin decorates its views with Django's check; this flag tells that
        # check that its work is done.
        request.csrf_processing_done = True
        request.check_xsrf = partial(check, request)
        request.xsrf_problem = ""
        request.xsrf_is_checked = not getattr(view, "csrf_exempt", False)
        view_class: Any = getattr(view, "view_class", view)
        if request.method in ("GET", "HEAD", "OPTIONS", "TRACE"):
            if (
                request.xsrf_is_checked
                and not getattr(view_class, "answers_scripts", False)
                and is_needed(request)
                and is_unproven_script(request)
            ):
                return HttpResponse(SCRIPTS_REFUSED, status=403, headers=PLAIN)
            return None
        if not request.xsrf_is_checked:
            return None
        request.xsrf_problem = find_problem(request)
        if not request.xsrf_problem or getattr(
            view_class, "answers_xsrf_problem", False
        ):
            return None
        context = {
            "explanation": "This form has expired or was opened in another session. "
            "Go back, reload the page and try again.",
        }
        return render(request, "403.html", context, status=403)

    @staticmethod
    def _has_new_session(request: HttpRequest) -> bool:
        # Whoever has just signed in holds a value for the time before. Asking for
        # the user loads the session, so only requests that did so are asked.
        return (
            getattr(request, "xsrf_is_checked", False)
            and request.session.accessed
            and request.user.is_authenticated
        )

    @staticmethod
    def _set_cookie(request: HttpRequest, response: HttpResponse) -> None:
        token = get_token(request)
        if not token or token in values_of(request, NAME) or NAME in response.cookies:
            return
        response.set_cookie(
            NAME,
            token,
            max_age=None if request.user.is_authenticated else ANONYMOUS_SECONDS,
            path=f"{settings.HUB.base_url}hub/",
            secure=request.is_secure(),
            samesite="Lax",
        )


def _sent_value(request: HttpRequest) -> str:
    """Return the first value that is sent, where JupyterHub looks first."""
    places = (request.POST.get(NAME), request.GET.get(NAME))
    values = (*places, *(request.META.get(header) for header in HEADERS))
    return next((value for value in values if value), "")


def _valid_cookies(
    request: HttpRequest, binding: str, anonymous_seconds: int
) -> list[str]:
    """Return the values of all cookies that are signed for this session or browser.

    Other programs on the same host name use a cookie of this name, too.
    """
    return [
        value
        for value in values_of(request, NAME)
        if _is_signed_for(binding, value, anonymous_seconds)
    ]


def _binding(request: HttpRequest) -> str:
    if request.user.is_authenticated:
        return f"session:{request.session.session_key}:{request.user.pk}"
    agent = request.META.get("HTTP_USER_AGENT", "")
    browser = f"{request.META.get('REMOTE_ADDR', '')} {agent}"
    return "browser:" + hashlib.sha256(browser.encode()).hexdigest()


def _signer(binding: str) -> TimestampSigner:
    return TimestampSigner(sep=".", salt=f"xsrf:{binding}")


def _is_signed_for(binding: str, token: str, anonymous_seconds: int) -> bool:
    limit = anonymous_seconds if binding.startswith("browser:") else None
    try:
        _signer(binding).unsign(token, max_age=limit)
    except BadSignature:
        return False
    return True
