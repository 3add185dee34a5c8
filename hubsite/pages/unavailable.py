"""Pages for temporary failures and for conflicts of two changes.

The database or the cache does not respond, or too many people sign in at once. The API
has its own responses to such failures, see `api.exceptions`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus

import structlog
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import loader

from database.failures import RETRY_AFTER, explanation, is_unavailable, leave_standby
from hubsite.pages.context import site
from hubsite.pages.views import TITLES
from scopes.refusals import Unavailable
from web.cache import CACHE_AWAY, cache_problem
from web.paths import is_api_path

logger = structlog.get_logger(__name__)

BUSY = "The hub is busy"
CHANGED_MEANWHILE = (
    "Another change was made at the same moment, so nothing was changed here. Go "
    "back, reload the page and check its current state."
)


class UnavailableMiddleware:
    """Returns a page about the temporary failure instead of a server error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, error: Exception
    ) -> HttpResponse | None:
        return answer_to(request, error)


def answer_awaited(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the response to a failure of a deferred page, after all middleware."""
    response = answer_to(request, error)
    if response is not None:
        return response
    if isinstance(error, Http404):
        return page(HTTPStatus.NOT_FOUND, TITLES[404])
    if isinstance(error, PermissionDenied):
        return page(HTTPStatus.FORBIDDEN, TITLES[403], str(error))
    logger.error("failed to answer", path=request.path, exc_info=error)
    return page(HTTPStatus.INTERNAL_SERVER_ERROR)


def answer_to(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """Return the response to a temporary failure; None for any other error."""
    response = unavailable(request, error)
    if response is not None:
        return response
    if isinstance(error, IntegrityError | ObjectDoesNotExist) and not isinstance(
        error, Http404
    ):
        logger.warning("came second", path=request.path, exc_info=error)
        return page(HTTPStatus.CONFLICT, "Changed meanwhile", CHANGED_MEANWHILE)
    return None


def unavailable(request: HttpRequest, error: BaseException) -> HttpResponse | None:
    """Return 503 with `Retry-After`; None if the error is no such failure."""
    retry_after = RETRY_AFTER
    if isinstance(error, Unavailable):
        message = error.message
        retry_after = error.retry_after or RETRY_AFTER
    elif is_unavailable(error):
        reason = str(error).partition("\n")[0]
        logger.warning("database unavailable", path=request.path, reason=reason)
        leave_standby(error)
        message = explanation(error)
    elif problem := cache_problem(error):
        logger.error("Redis does not answer", path=request.path, reason=problem)
        message = CACHE_AWAY
    else:
        return None
    status = HTTPStatus.SERVICE_UNAVAILABLE
    response: HttpResponse
    if is_api_path(request.path):
        response = JsonResponse({"status": status, "message": message}, status=status)
    else:
        response = page(status, BUSY, message)
    response["Retry-After"] = str(retry_after)
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the response to any other failure, of views and of middleware."""
    error = sys.exception()
    response = None if error is None else unavailable(request, error)
    return response or page(HTTPStatus.INTERNAL_SERVER_ERROR)


def page(status: HTTPStatus, title: str = "", explanation: str = "") -> HttpResponse:
    """Render an error without a query for the signed-in user."""
    context = {**site(), "code": int(status), "title": title}
    template = "500.html" if status == 500 else "error.html"
    text = loader.render_to_string(template, {**context, "explanation": explanation})
    return HttpResponse(text, status=status)
