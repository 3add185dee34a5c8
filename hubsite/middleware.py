"""The outermost middleware: routing, common headers, access log and metrics.

Calls of the API with a token need no session, no messages and no XSRF check, which
together cost more than the call. So this middleware calls their view directly. Pages,
and calls of the API with a browser's session, pass through all other middleware.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.utils.cache import get_conditional_response

from api.exceptions import exception_handler
from audit import uses
from hubsite.config.response_settings import CookieOptions
from hubsite.logging import conceal
from hubsite.metrics import observe_request
from hubsite.pages.unavailable import answer_awaited
from hubsite.pages.views import method_not_allowed
from web.callers import Caller, find_caller
from web.deferred import AWAITS, Deferred, refuse_late_changes
from web.hosts import adopt_public_address, is_subdomain, public_origin
from web.outside import Move
from web.paths import ENCODED_SLASH, find_view, is_api_path

Handler = Callable[[HttpRequest], HttpResponseBase]

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ACCESS_LOG = "hubsite.access"

# Parts of addresses that contain secrets: one-time links, and lookups of tokens.
SECRET_PARTS = frozenset(("token", "key", "value"))
# A shorter path can't contain a whole token.
LONG_PATH = 60
# Most characters of an address in a line, and the bytes that these may take there. If
# they take more, as control characters do, fewer are shown.
SHOWN, SHOWN_BYTES, SHOWN_AT_LEAST = 200, 240, 40


class HubMiddleware:
    """Routes each request; adds headers, a log line and a measurement."""

    def __init__(self, get_response: Handler) -> None:
        self.long_way = get_response
        self.short_way: Any = convert_exception_to_response(answer_alone)
        self.log = access_log()
        prefix, path = settings.HUB_PREFIX, settings.HUB_PATH
        self.hub_path = path
        self.routine = (f"{path}health", f"{path}static/")
        ancestors = " ".join(settings.FRAME_ANCESTORS)
        frames = f"frame-ancestors {ancestors}; report-uri {prefix}security/csp-report"
        self.page_policy = frames
        self.headers = {
            "X-JupyterHub-Version": settings.JUPYTERHUB_VERSION,
            "Access-Control-Allow-Headers": "accept, content-type, authorization",
            "X-Content-Type-Options": "nosniff",
        }
        if settings.IS_HTTPS:
            # Calls on the short way do not pass Django's own middleware.
            below = settings.SECURE_HSTS_INCLUDE_SUBDOMAINS
            self.headers["Strict-Transport-Security"] = (
                f"max-age={settings.SECURE_HSTS_SECONDS}"
                f"{'; includeSubDomains' if below else ''}"
            )
        self.api_headers = self.headers | {
            "Content-Security-Policy": f"{frames}; default-src 'none'"
        }
        self.cookie_options = CookieOptions(settings.HUB.tornado_settings)

    def __call__(self, request: Any) -> HttpResponseBase:
        began = time.perf_counter()
        path = request.path_info
        is_api = is_api_path(path)
        request.caller = find_caller(request)
        if is_api and request.caller is Caller.PROGRAM:
            request.user = STRANGER
            response = self.short_way(request)
        elif not is_api and is_subdomain(meta_host(request)) and self.is_hub(path):
            response = lead_to_public_host(request)
        else:
            adopt_public_address(request)
            response = self.long_way(request)
            is_refused = response.status_code == 405 and not is_api
            if is_refused and asks_for_a_page(request):
                response = method_not_allowed(request, response)
        if isinstance(response, Move):
            # The request begins again, and is finished then.
            return response
        if not isinstance(response, Deferred):
            return self.finish(request, began, is_api, response)
        # Only this middleware sets how a deferred response fails and is finished.
        refuse_late_changes(request)
        response.explain = (
            partial(exception_handler, context={"request": request})
            if is_api
            else partial(answer_awaited, request)
        )
        response.finish = partial(self.finish, request, began, is_api)
        # A WSGI server has no loop to wait on, so this thread waits.
        return response if AWAITS in request.META else response.settle_here()

    def finish(
        self, request: HttpRequest, began: float, is_api: bool, response: Any
    ) -> Any:
        """Finish a response: add headers, log and measure it."""
        if response.cookies and request.is_secure():
            # Proxies in front may use https without a setting for it.
            for cookie in response.cookies.values():
                cookie["secure"] = True
        for name, cookie in response.cookies.items():
            self.cookie_options.apply(name, cookie)
        if is_api and request.method == "GET":
            response = tag(request, response)
        self.add_headers(response, is_api)
        rate = getattr(request, "rate", None)
        if rate is not None:
            for name, value in rate.headers.items():
                response.headers[name] = value
        took = time.perf_counter() - began
        observe_request(request, response, took)
        if uses.are_recorded():
            note_use(request, response.status_code)
        if self.log is not None and not self.is_routine(request, response):
            self.write_line(request, response, took)
        return response

    def is_hub(self, path: str) -> bool:
        return path.startswith(self.hub_path)

    def add_headers(self, response: HttpResponseBase, is_api: bool) -> None:
        """Add the headers that JupyterHub sends with every response."""
        headers = response.headers
        if is_api and not headers.get("Content-Type", "").startswith("text/html"):
            added = self.api_headers
        else:
            added = self.headers
            headers.setdefault("Content-Security-Policy", self.page_policy)
            # Pages contain data of their user and must not be shown to others.
            headers.setdefault("Cache-Control", "private, no-cache")
        for name, value in (added | settings.SITE_HEADERS).items():
            headers[name] = value

    def is_routine(self, request: HttpRequest, response: HttpResponseBase) -> bool:
        """Return whether a request is logged at the level DEBUG only.

        Watchdogs check the health every few seconds and each page loads several static
        files. Their lines would hide the others.
        """
        return (
            settings.LOG_LEVEL != "DEBUG"
            and response.status_code < 400
            and request.path_info.startswith(self.routine)
        )

    def write_line(
        self, request: HttpRequest, response: HttpResponseBase, took: float
    ) -> None:
        self.log.info(
            "request",
            method=request.method,
            path=shown_path(request),
            status=response.status_code,
            ms=round(took * 1000, 2),
            who=name_of(request),
            address=request.META.get("REMOTE_ADDR", ""),
        )


STRANGER = AnonymousUser()


def meta_host(request: HttpRequest) -> str:
    return str(request.META.get("HTTP_HOST", ""))


def lead_to_public_host(request: HttpRequest) -> HttpResponseBase:
    """Redirect from the host of a user's servers to the hub's host.

    Pages of the hub at that host would have the same origin as the servers' pages.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponse("The hub is at another host.", status=404)
    return HttpResponseRedirect(f"{public_origin()}{request.get_full_path()}")


def asks_for_a_page(request: HttpRequest) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def answer_alone(request: HttpRequest) -> HttpResponseBase:
    """Call the view of an address directly."""
    match = find_view(request.path_info)
    request.resolver_match = match
    response: Any = match.func(request, *match.args, **match.kwargs)
    if isinstance(response, SimpleTemplateResponse):
        # Responses of Django REST framework, which Django's handler would render.
        response.render()
    answer: HttpResponseBase = response
    return answer


def tag(request: HttpRequest, response: Any) -> Any:
    """Add an `ETag`; return 304 if the client has the same response already."""
    if response.status_code != 200 or response.streaming:
        return response
    # Processors have instructions for this hash, which halves its time for a page.
    etag = f'"{sha256(response.content).hexdigest()[:24]}"'
    response.headers["ETag"] = etag
    if "HTTP_IF_NONE_MATCH" not in request.META:
        return response
    answer: Any = get_conditional_response(request, etag=etag, response=response)
    if origin := response.headers.get(ALLOW_ORIGIN):
        # Without this header the browser hides the 304 from a foreign page.
        answer.headers[ALLOW_ORIGIN] = origin
    return answer


def note_use(request: HttpRequest, status: int) -> None:
    """Have the use of the request's token recorded in the audit log."""
    actor = getattr(request, "actor", None)
    if actor is not None and actor.token_id is not None:
        agent = request.META.get("HTTP_USER_AGENT", "")
        uses.note(actor, request.method or "", shown_path(request), status, agent)


def shown_path(request: HttpRequest) -> str:
    """Return the path without secrets and without the query."""
    path = request.path
    match = request.resolver_match
    if match is not None and not SECRET_PARTS.isdisjoint(match.kwargs):
        for part in SECRET_PARTS & match.kwargs.keys():
            secret = str(match.kwargs[part])
            # The path has encoded slashes, which the converter of names decodes.
            for spelling in (secret.replace("/", ENCODED_SLASH), secret):
                path = path.replace(spelling, "[secret]")
    if len(path) > LONG_PATH:
        path = shorten(conceal(None, "", {"path": path})["path"])
    return path


def shorten(path: str) -> str:
    """Cut off a long path, so that no request causes a long line."""
    shown = path[:SHOWN]
    if len(orjson.dumps(shown)) > SHOWN_BYTES:
        shown = shown[:SHOWN_AT_LEAST]
    return path if shown == path else f"{shown}…"


def name_of(request: HttpRequest) -> str:
    """Return the caller's name if it is known already; the log causes no query."""
    actor = getattr(request, "actor", None)
    if actor is not None:
        return f"service:{actor.name}" if actor.kind == "service" else actor.name
    user = getattr(request, "_cached_user", None)
    return user.name if user is not None and user.is_authenticated else ""


class Lines:
    """The access log for programs: a line of JSON in the same format for each request.

    It bypasses the logging configuration, which would take ten times as long.
    """

    def __init__(self) -> None:
        self.stderr = open(2, "wb", buffering=0, closefd=False)  # noqa: SIM115
        self.lock = threading.Lock()

    def info(self, event: str, **fields: Any) -> None:
        line = {
            "level": "info",
            "logger": ACCESS_LOG,
            **fields,
            "event": event,
            "timestamp": datetime.now(UTC),
        }
        text = orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
        with self.lock:
            self.stderr.write(text)


def access_log() -> Any:
    """Return the logger of requests, or None if it would log nothing.

    Lines for people use the logging configuration.
    """
    if settings.LOG_LEVEL not in ("DEBUG", "INFO"):
        return None
    if settings.SITE.log_format == "text" or (
        settings.SITE.log_format == "auto" and sys.stderr.isatty()
    ):
        return structlog.get_logger(ACCESS_LOG)
    return Lines()
