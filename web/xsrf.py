"""Protection against forged requests (XSRF) by JupyterHub's rules.

A page sends a value twice: in the `_xsrf` cookie and in its form, where scripts can
read it, too. A request with two equal values comes from a page of the hub. The value is
signed for one session and user, or for one browser as long as nobody has signed in, so
that values from elsewhere are refused. If there are several cookies, one valid value is
enough.

The middleware checks pages and the admin, in place of Django's own. The API calls
`request.check_xsrf()` itself, because only the API decides whether a cookie or a token
authenticates a request.

Pages are for navigation. A script that fetches a page with a person's session must send
the value as well, because without hosts of their own (`subdomain_host`) pages of users'
servers share the hub's origin, and could read the response.
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
    """Return the value for this request's forms; the middleware sets its cookie.

    A script without a valid value gets none, on any page.
    """
    if is_unproven_script(request):
        return ""
    binding = _binding(request)
    made_for, token = getattr(request, "_xsrf_token", ("", ""))
    if made_for == binding:
        return token
    # An anonymous value is valid for an hour. It is used again only in the first half
    # of that, so that each form stays valid for at least the other half.
    valid = _valid_cookies(request, binding, ANONYMOUS_SECONDS // 2)
    token = valid[0] if valid else _signer(binding).sign(secrets.token_urlsafe(16))
    request._xsrf_token = (binding, token)
    return token


def is_needed(request: HttpRequest) -> bool:
    """Return whether an API request with a cookie must prove its origin.

    Scripts must, even to read, because a foreign page that causes a request might read
    the response. Requests by a typed address or a link need no proof.
    """
    mode = request.META.get("HTTP_SEC_FETCH_MODE", "navigate")
    if request.method in ("HEAD", "OPTIONS") or mode == "websocket":
        return False
    if request.method == "GET":
        same_origin = request.META.get("HTTP_SEC_FETCH_SITE") == "same-origin"
        # An image or a script of a page of the hub. A script that fetches sends
        # `empty`, and could read the response.
        is_part = request.META.get("HTTP_SEC_FETCH_DEST") != "empty"
        if mode == "navigate" or (mode == "no-cors" and same_origin and is_part):
            return False
    return True


def is_unproven_script(request: Any) -> bool:
    """Return whether a script uses somebody's session without proof of its origin.

    In browsers, `Sec-Fetch-Mode` states whether a person navigates to a page. A request
    without that header comes from a program, or from a browser on an insecure
    connection, which others can read anyway.
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
    """Refuse an API request with a cookie but without proof of its origin.

    Call this only if no token authenticates. Anonymous requests pass, unless a page
    sent them: they are refused later for lack of credentials, with a better message.
    """
    if not request.user.is_authenticated and request.caller is not Caller.PAGE:
        return
    if is_needed(request) and (problem := find_problem(request)):
        raise Forbidden(problem)


def find_problem(request: HttpRequest) -> str:
    """Return the problem of the request's XSRF value; empty if there is none."""
    # Django's test client sets this flag, as for Django's own check.
    if getattr(request, "_dont_enforce_csrf_checks", False):
        return ""
    sent = _sent_value(request)
    if not sent:
        return f"'{NAME}' argument missing from {request.method}"
    binding = _binding(request)
    valid = _valid_cookies(request, binding, ANONYMOUS_SECONDS)
    if any(constant_time_compare(sent, cookie) for cookie in valid):
        return ""
    # A browser without the cookie may still read, because the value alone proves that
    # the request comes from a page of the same session.
    is_reading = request.method == "GET" and request.user.is_authenticated
    if is_reading and not valid and _is_signed_for(binding, sent, ANONYMOUS_SECONDS):
        return ""
    return f"XSRF cookie does not match {request.method} argument"


def is_page(response: HttpResponse) -> bool:
    """Return whether a response is an HTML page with content."""
    return (
        not response.streaming
        and response.headers.get("Content-Type", "").startswith("text/html")
        and bool(response.content)
    )


class XSRFMiddleware:
    """Checks every changing request to a page, and sets the cookie.

    A view whose class sets `answers_xsrf_problem` is called in spite of a problem and
    reads it from `request.xsrf_problem`. A view that sets `answers_scripts` is called
    for scripts of any page, which can follow its redirects but read none of its pages.
    Views that are exempt from Django's check, such as the API's, are not checked.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if is_page(response) and is_unproven_script(request):
            # A script could read the page, which contains more than the status.
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
        # The admin decorates its views with Django's check, which this flag disables.
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
        # After a sign-in the browser still has the anonymous value. Reading the user
        # loads the session, so this is checked only if the session is loaded already.
        return (
            getattr(request, "xsrf_is_checked", False)
            and request.session.accessed
            and request.user.is_authenticated
        )

    @staticmethod
    def _set_cookie(request: HttpRequest, response: HttpResponse) -> None:
        token = get_token(request)
        is_known = token in values_of(request, NAME)
        if is_known and not getattr(request, "sets_session_cookies_again", False):
            return
        if not token or NAME in response.cookies:
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
    """Return the first value of the request, in JupyterHub's order of places."""
    places = (request.POST.get(NAME), request.GET.get(NAME))
    values = (*places, *(request.META.get(header) for header in HEADERS))
    return next((value for value in values if value), "")


def _valid_cookies(
    request: HttpRequest, binding: str, anonymous_seconds: int
) -> list[str]:
    """Return the cookies' values that are signed for this session or browser.

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
