"""Pages for what can't be done at this moment: a crowd, or a cache that is away.

The API answers such refusals itself, see `api.base`.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from scopes.refusals import Unavailable
from web.cache import CACHE_AWAY, cache_problem

RETRY_AFTER = 5

logger = structlog.get_logger(__name__)


class CrowdedMiddleware:
    """Answers 503 and says when to try again, instead of a page about a failure."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, error: Exception
    ) -> HttpResponse | None:
        if isinstance(error, Unavailable):
            return unavailable(request, error.message, error.retry_after)
        if problem := cache_problem(error):
            logger.error("cache unavailable", path=request.path, reason=problem)
            return unavailable(request, CACHE_AWAY, RETRY_AFTER)
        return None


def unavailable(
    request: HttpRequest, message: str, retry_after: int | None
) -> HttpResponse:
    """Answer 503, as JSON below the API and as a page elsewhere."""
    response: HttpResponse
    if request.path.startswith(f"{settings.HUB_PATH}api/"):
        response = JsonResponse({"status": 503, "message": message}, status=503)
    else:
        context = {"code": 503, "title": "Not at this moment", "explanation": message}
        response = render(request, "error.html", context, status=503)
    response["Retry-After"] = str(retry_after or RETRY_AFTER)
    return response
