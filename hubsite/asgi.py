"""The hub as an ASGI application, for any ASGI server."""

from __future__ import annotations

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

from hubsite.cookies import SessionCookieMiddleware
from hubsite.middleware import HubMiddleware
from hubsite.pages.unavailable import BUSY, page
from hubsite.pages.views import TITLES
from tokens import activity, verification
from tokens.authentication import TokenAuthentication
from web.asgi import Application
from web.bodies import RefusedError
from web.environ import Environ


def is_identified(environ: Environ) -> bool:
    """Return whether a request has a valid token, or the session of an active user."""
    close_old_connections()
    request = WSGIRequest(environ)
    if TokenAuthentication().authenticate(request) is not None:
        return True
    return bool(with_session(request).status_code == 200)


def signed_in(request: HttpRequest) -> HttpResponse:
    user = get_user(request)
    return HttpResponse(status=200 if user.is_authenticated else 403)


with_session: Any = SessionMiddleware(signed_in)
with_session = SessionCookieMiddleware(with_session)


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
    verification.look_for_lost_keys()


application = Application(
    handler,
    is_identified=is_identified,
    refused_page=refused_page,
    on_start=start,
    on_stop=activity.stop,
)
