"""What is answered while the database can't be used, or two changes contradict.

The API answers such failures itself, see `api.base`; this is for pages.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import loader

from database.failures import RETRY_AFTER, explanation, is_unavailable, leave_standby
from web.deferred import Deferred

logger = logging.getLogger(__name__)

CHANGED_MEANWHILE = (
    "Something else changed this at the same moment, so nothing was changed here. Go "
    "back, load the page again and look at how it is now."
)


class UnavailableMiddleware:
    """Answers with a page that says so, instead of one about a broken hub."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if isinstance(response, Deferred):
            response.waiting = Guarded(request, response.waiting)
        return response

    def process_exception(
        self, request: HttpRequest, error: Exception
    ) -> HttpResponse | None:
        return answer_to(request, error)


class Guarded:
    """A deferred answer whose failures are answered as those of a view are."""

    def __init__(
        self, request: HttpRequest, waiting: Callable[[], Awaitable[HttpResponse]]
    ) -> None:
        self.request = request
        self.waiting = waiting

    async def __call__(self) -> HttpResponse:
        try:
            return await self.waiting()
        except Exception as error:
            answer = answer_to(self.request, error)
            if answer is None:
                raise
            return answer


def answer_to(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """Answer a failure of the database; None if the error is another one."""
    if is_unavailable(error):
        return unavailable(request, error)
    if isinstance(error, IntegrityError | ObjectDoesNotExist) and not isinstance(
        error, Http404
    ):
        logger.warning("Came second: %s", request.path, exc_info=error)
        return page(HTTPStatus.CONFLICT, "Changed meanwhile", CHANGED_MEANWHILE)
    return None


def unavailable(request: HttpRequest, error: BaseException) -> HttpResponse:
    """Answer that the database can't be used now, and when to try again."""
    reason = str(error).partition("\n")[0]
    logger.warning("The database did not answer %s: %s", request.path, reason)
    leave_standby(error)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    message = explanation(error)
    response: HttpResponse
    if request.path.startswith(f"{settings.HUB_PREFIX}api/"):
        response = JsonResponse({"status": status, "message": message}, status=status)
    else:
        response = page(status, "The hub is busy", message)
    response["Retry-After"] = str(RETRY_AFTER)
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what nothing else did: middleware may fail as well as views."""
    error = sys.exception()
    if error is not None and is_unavailable(error):
        return unavailable(request, error)
    return page(HTTPStatus.INTERNAL_SERVER_ERROR)


def page(status: HTTPStatus, title: str = "", explanation: str = "") -> HttpResponse:
    """Render an error without asking the database who is signed in."""
    context: dict[str, Any] = {"code": int(status), "title": title}
    template = "500.html" if status == 500 else "error.html"
    text = loader.render_to_string(template, {**context, "explanation": explanation})
    return HttpResponse(text, status=status)
