"""The hub as an ASGI application, for any ASGI server."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

# This import sets Django up, which is necessary before models are imported.
from hubsite.wsgi import application as handler

# isort: split
from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404

from api.base import HubAPIView
from api.exceptions import MISSING_CREDENTIALS, error
from api.permissions import AllowAny
from audit import uses
from hubsite.cookies import SessionCookieMiddleware
from hubsite.middleware import HubMiddleware
from hubsite.pages.unavailable import BUSY, page
from hubsite.pages.views import TITLES
from tokens import activity, verification
from tokens.authentication import TokenAuthentication, secret_in
from tokens.networks import WrongNetwork
from web.asgi import Application
from web.bodies import RefusedError
from web.environ import Environ, path_of
from web.paths import find_view, is_api_path


def is_identified(environ: Environ) -> bool:
    """Return whether a request has a valid token, or the session of an active user."""
    close_old_connections()
    request = WSGIRequest(environ)
    try:
        if TokenAuthentication().authenticate(request) is not None:
            return True
    except WrongNetwork:
        return False
    return bool(with_session(request).status_code == 200)


def signed_in(request: HttpRequest) -> HttpResponse:
    user = get_user(request)
    return HttpResponse(status=200 if user.is_authenticated else 403)


with_session: Any = SessionMiddleware(signed_in)
with_session = SessionCookieMiddleware(with_session)


def is_forged(environ: Environ) -> bool:
    """Return whether a request has a token with a wrong tag, without a query."""
    secret = secret_in(environ.get("HTTP_AUTHORIZATION"))
    return bool(secret) and verification.is_forged(secret)


def refuse_forged(environ: Environ) -> HttpResponse | None:
    """Return the response to a forged token, if nothing but a token could help.

    The response is the one that the view would give, for a tenth of the cost, so that a
    flood of forged tokens does not make others wait. It needs no query, so it can be
    made on the event loop.
    """
    path, method = path_of(environ), environ["REQUEST_METHOD"]
    is_program = "HTTP_COOKIE" not in environ and "HTTP_ORIGIN" not in environ
    if not is_program or "%" in environ["RAW_URI"] or not is_api_path(path):
        return None
    try:
        match = find_view(path)
    except Resolver404:
        return None
    view = getattr(match.func, "view_class", None) or getattr(match.func, "cls", None)
    if not isinstance(view, type) or not issubclass(view, HubAPIView):
        return None
    if (
        view.authentication_classes != HubAPIView.authentication_classes
        or view.permission_classes != HubAPIView.permission_classes
        or view.scopes.get(method, AllowAny) is AllowAny
    ):
        return None
    began = time.perf_counter()
    request: Any = WSGIRequest(environ)
    request.resolver_match = match
    response = error(403, MISSING_CREDENTIALS)
    finished: HttpResponse = headers.finish(request, began, True, response)
    return finished


def refused_page(refused: RefusedError) -> HttpResponse:
    """Return the page for a request refused before its view, without queries."""
    status = HTTPStatus(refused.status)
    is_busy = status == HTTPStatus.SERVICE_UNAVAILABLE
    title = BUSY if is_busy else TITLES.get(status, status.phrase)
    response = page(status, title, refused.message)
    headers.add_headers(response, is_api=False)
    return response


headers = HubMiddleware(signed_in)


def start() -> None:
    """Start the background tasks of a web process."""
    activity.start()
    uses.start()
    verification.look_for_lost_keys()


def stop() -> None:
    """End the background tasks, and write what they have not written yet."""
    activity.stop()
    uses.stop()


application = Application(
    handler,
    is_identified=is_identified,
    is_forged=is_forged,
    refuse_forged=refuse_forged,
    refused_page=refused_page,
    on_start=start,
    on_stop=stop,
)
