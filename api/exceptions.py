"""Responses to exceptions: `{"status": …, "message": …}` with the same status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import (
    ObjectDoesNotExist,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import DatabaseError, IntegrityError, InterfaceError
from django.http import (
    Http404,
    HttpResponse,
    RawPostDataException,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import APIException, NotAuthenticated

from api.parsers import NO_JSON
from api.renderers import JSONRenderer
from database.failures import RETRY_AFTER, explanation, is_unavailable, leave_standby
from scopes.refusals import Busy, Refusal
from web.cache import CACHE_AWAY, cache_problem

logger = logging.getLogger(__name__)

MISSING_CREDENTIALS = "Missing or invalid credentials."
OUT_OF_REACH = "No access to resources or resources not found"

RENDERER = JSONRenderer()


def error(status: int, message: str) -> HttpResponse:
    """Return a response in the common format of errors."""
    body = RENDERER.render({"status": status, "message": message})
    return HttpResponse(body, status=status, content_type=RENDERER.media_type)


def exception_handler(failure: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Return the response to an exception; call this while handling the exception."""
    path = context["request"].path
    match failure:
        case Refusal():
            response = error(failure.status, failure.message)
            if isinstance(failure, Busy) and failure.retry_after is not None:
                response["Retry-After"] = str(failure.retry_after)
            return response
        case NotAuthenticated():
            return error(403, MISSING_CREDENTIALS)
        case APIException():
            return error(failure.status_code, str(failure.detail))
        case Http404():
            return error(404, OUT_OF_REACH)
        case RequestDataTooBig():
            return error(413, "The body is larger than this hub reads.")
        case RawPostDataException():
            # The body was parsed as a form when its XSRF value was checked.
            return error(400, NO_JSON)
        case SuspiciousOperation() | UnreadablePostError() | MultiPartParserError():
            return error(400, "The request could not be read.")
        case IntegrityError() | ObjectDoesNotExist():
            # Two changes conflicted, and the database allowed one of them.
            logger.warning("Another request was first: %s: %s", path, failure)
            return error(409, "Something else changed this meanwhile; try again.")
        case DatabaseError() | InterfaceError() if is_unavailable(failure):
            # Writers queue in the database; one that waited too long may try again.
            reason = str(failure).partition("\n")[0]
            logger.warning("The database did not answer %s: %s", path, reason)
            leave_standby(failure)
            response = error(503, explanation(failure))
            response["Retry-After"] = str(RETRY_AFTER)
            return response
        case _ if problem := cache_problem(failure):
            logger.error("Redis did not answer %s: %s", path, problem)
            response = error(503, CACHE_AWAY)
            response["Retry-After"] = str(RETRY_AFTER)
            return response
        case _:
            logger.error("An uncaught error at %s", path, exc_info=failure)
            return error(500, "Internal Server Error")
