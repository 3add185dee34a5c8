"""Error pages, the API explorer, and redirects."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from csp.decorators import csp_update
from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
    HttpResponseRedirect,
)
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import TemplateView, View

from accounts.landing import default_target, with_parameters
from accounts.mixins import redirect_to_login
from hubsite.pages.context import has_logo
from web.hosts import (
    local_path,
    public_origin,
    service_origin,
    was_sent_to_subdomain,
)
from web.outside import waits_for_others
from web.paths import spelt_path

logger = logging.getLogger(__name__)


class RootView(View):
    """`{base}hub/`: redirects to the person's start page, or to sign-in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        user = request.user if request.user.is_authenticated else None
        if settings.HUB.default_url or user:
            wanted = local_path(request, request.GET.get("next", ""))
            return HttpResponseRedirect(
                wanted or with_parameters(request, default_target(user))
            )
        return redirect_to_login(request)


def root_view() -> Callable[..., Any]:
    """Return the view of the root, marked if it calls a function of the operator."""
    view = RootView.as_view()
    if callable(settings.HUB.default_url):
        return waits_for_others(view, "GET")
    return view


def to_hub_root(request: HttpRequest) -> HttpResponse:
    return HttpResponsePermanentRedirect(_with_query(request, _hub("")))


# This view changes nothing, so no request needs an XSRF value.
@csrf_exempt
def into_hub(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Redirect an address outside of `hub/` to the same one inside.

    Only reading requests are redirected, because others are meant for a server, which
    does not run.
    """
    if request.method not in ("GET", "HEAD"):
        return _render_error(request, 405)
    path = spelt_path(request)
    first, _, second = rest.partition("/")
    if first in ("user", "services") and second and "/" not in second:
        return HttpResponsePermanentRedirect(_with_query(request, f"{path}/"))
    name = second.partition("/")[0]
    host = service_origin(name) if first == "services" and name else ""
    if host and not was_sent_to_subdomain(request):
        # An address from before the service had a host of its own. If the service
        # does not run, that host redirects into the hub.
        return HttpResponseRedirect(host + _with_query(request, path))
    # The request may be for a user's own host, where the hub has no cookies.
    return HttpResponseRedirect(public_origin() + _with_query(request, _hub(path)))


def _hub(path: str) -> str:
    """Return the path inside `hub/` for a path below the base URL.

    The client may escape the base URL differently, so its parts are counted.
    """
    base = settings.HUB.base_url
    rest = path.split("/", base.count("/"))[base.count("/") :]
    return f"{base}hub/{''.join(rest).lstrip('/')}"


def _with_query(request: HttpRequest, path: str) -> str:
    query = request.META.get("QUERY_STRING")
    quoted = "".join(path.splitlines())
    return f"{quoted}?{query}" if query else quoted


def logo(request: HttpRequest) -> FileResponse:
    """Return the hub's or the site's logo, at the address of JupyterHub's pages."""
    # Templates and mails for JupyterHub expect a bitmap here.
    path = str(settings.LOGO_FILE) if has_logo() else finders.find("mark.png")
    if not path:
        raise Http404
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return FileResponse(open(path, "rb"), content_type=kind)


# Browsers send reports on their own and without an XSRF value. A foreign page can't
# send one in somebody's name, because its requests have no session cookie.
@csrf_exempt
def csp_report(request: HttpRequest) -> HttpResponse:
    """Log a resource that a browser refused to load on a page of the hub."""
    if request.method != "POST":
        return _render_error(request, 405)
    if request.user.is_authenticated:
        report = request.body[:2000].decode("utf-8", "replace")
        logger.warning("Content-Security-Policy: %s", report)
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


# Errors

TITLES = {
    400: "Bad request",
    403: "Permission denied",
    404: "Page not found",
    405: "Method not allowed",
    408: "The request took too long",
    413: "The request is too large",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "Temporarily unavailable",
}
SILENT = {"user": "server", "services": "service"}


def error_page(request: HttpRequest, code: int) -> HttpResponse:
    """Return the page of an error; the proxy shows it in place of its own."""
    # The proxy sends the address that had no target.
    base = unquote(settings.HUB.base_url)
    asked = unquote(request.GET.get("url", "")).removeprefix(base)
    kind = SILENT.get(asked.partition("/")[0])
    if code == HTTPStatus.SERVICE_UNAVAILABLE and kind:
        return render(request, "silent.html", {"code": code, "kind": kind})
    return _render_error(request, code, status=200)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _render_error(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    explanation = str(exception) if exception.args else ""
    return _render_error(request, 403, explanation)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _render_error(request, 404)


def method_not_allowed(
    request: HttpRequest, refused: HttpResponseBase
) -> HttpResponseBase:
    """Return a page for status 405, because people bookmark addresses of forms."""
    if getattr(refused, "content", b""):
        return refused
    page = _render_error(
        request,
        405,
        "This address accepts only forms that a page of the hub sends.",
    )
    page.headers["Allow"] = refused.headers.get("Allow", "")
    return page


def too_many_requests(request: HttpRequest) -> HttpResponse:
    return _render_error(
        request, 429, "You have tried too often. Wait a few minutes and try again."
    )


def _render_error(
    request: HttpRequest, code: int, explanation: str = "", status: int = 0
) -> HttpResponse:
    context = {
        "code": code,
        "title": TITLES.get(code) or _phrase(code),
        "explanation": explanation,
    }
    template = f"{code}.html" if code in (403, 404) else "error.html"
    return render(request, template, context, status=status or code)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Error"


# The API explorer


@method_decorator(
    # Swagger UI uses style attributes; scripts are restricted as on other pages.
    csp_update({"style-src": ["'unsafe-inline'"]}),
    name="dispatch",
)
class DocsView(TemplateView):
    """The API explorer in the browser, which uses the person's session."""

    template_name = "docs.html"
