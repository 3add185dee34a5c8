"""The base of the API's views: authentication, permissions and responses.

A view declares for each method the scopes of which one is needed:

    class UserView(HubAPIView):
        scopes = {"GET": ("read:users", "read:users:name"), "DELETE": "delete:users"}

        def subject(self) -> User: ...

Instead of scopes a method may declare `PUBLIC` (no credential needed) or `IDENTIFIED`
(any valid credential). A method without a declaration is closed.

A scope may have a filter. The view decides its effect:

* `subject()` returns the object of the address. A filter that does not reach the
  object gives 404, whether or not the object exists.
* methods in `narrows` limit their response to the rows of `model` that the filter
  reaches.
* all others need the scope without a filter, and give 403 otherwise.

Views are Django REST framework's, so that its authentication classes and the schema
generator apply, but requests and responses are Django's own: one representation,
JSON, needs neither negotiation nor parsers nor renderers, which cost more than all
the rest of a request.
"""

from __future__ import annotations

import codecs
import enum
import logging
import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import orjson
from django.core.exceptions import (
    ObjectDoesNotExist,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import DatabaseError, IntegrityError, InterfaceError
from django.db.models import Model
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    RawPostDataException,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import APIException
from rest_framework.views import APIView

from audit.models import Actor
from database.failures import RETRY_AFTER, explanation, is_unavailable, leave_standby
from scopes.access import EMPTY, Access
from scopes.refusals import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refusal,
    Unavailable,
)
from tokens.authentication import TokenAuthentication
from tokens.verification import Bearer
from web.cache import CACHE_AWAY, cache_problem
from web.callers import Caller
from web.paths import ENCODED_SLASH, spelt_path

logger = logging.getLogger(__name__)


class Door(enum.Enum):
    """Requirements of a method other than a scope."""

    PUBLIC = "public"
    IDENTIFIED = "identified"


PUBLIC = Door.PUBLIC
IDENTIFIED = Door.IDENTIFIED

STATUS: Mapping[type[Refusal], int] = {
    Invalid: 400,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Unavailable: 503,
    Busy: 429,
}

# Databases and Python's own JSON fail at some greater depth; nobody needs as much.
DEEPEST = 100

MISSING_CREDENTIALS = "Missing or invalid credentials."
OUT_OF_REACH = "No access to resources or resources not found"


class APIRequest(HttpRequest):
    """The type of requests in views; exists for the type checker only."""

    access: Access
    bearer: Bearer | None
    actor: Actor


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape characters beyond ASCII as JSON does; a codec error handler."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = (f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return "".join(escaped), error.end


codecs.register_error("json", _escape)


def reply_text(text: str, status: int = 200) -> HttpResponse:
    """Return a response with JSON text."""
    return HttpResponse(
        text.encode("ascii", "json"), status=status, content_type="application/json"
    )


def reply(data: Any, status: int = 200) -> HttpResponse:
    """Return a response with `data` as JSON, in ASCII; times in UTC end in `Z`."""
    body = orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
    if not body.isascii():
        body = body.decode().encode("ascii", "json")
    return HttpResponse(body, status=status, content_type="application/json")


def argument(request: HttpRequest, name: str, default: str = "") -> str:
    """Return the last value of a query parameter, without blanks around it."""
    return _CONTROLS.sub(" ", request.GET.get(name, default)).strip()


def empty(status: int = 204, content_type: str = "application/json") -> HttpResponse:
    """Return a response without a body."""
    response = HttpResponse(status=status, content_type=content_type)
    if status == 204:
        del response["Content-Type"]
    return response


def error(status: int, message: str) -> HttpResponse:
    """Return a response in the common format of errors."""
    return reply({"status": status, "message": message}, status)


def explain(failure: Exception, path: str) -> HttpResponse:
    """Answer what failed as JSON, at the place where it was caught."""
    match failure:
        case Refusal():
            response = error(_status_of(failure), failure.message)
            if isinstance(failure, Busy) and failure.retry_after is not None:
                response["Retry-After"] = str(failure.retry_after)
            return response
        case APIException():
            return error(failure.status_code, str(failure.detail))
        case Http404():
            return error(404, OUT_OF_REACH)
        case RequestDataTooBig():
            return error(413, "The body is larger than this hub reads.")
        case SuspiciousOperation() | UnreadablePostError() | MultiPartParserError():
            return error(400, "The request could not be read.")
        case IntegrityError() | ObjectDoesNotExist():
            # Two changes conflicted, and the database allowed one of them.
            logger.warning("Came second: %s: %s", path, failure)
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
            logger.error("Uncaught while answering %s", path, exc_info=failure)
            return error(500, "Internal Server Error")


class HubAPIView(APIView):
    """Base class of the API's views."""

    authentication_classes = (TokenAuthentication,)
    scopes: ClassVar[Mapping[str, str | tuple[str, ...] | Door]] = {}
    narrows: ClassVar[frozenset[str]] = frozenset()
    model: ClassVar[type[Model] | None] = None
    # The longest body that is parsed; None means the hub's general limit.
    largest_body: ClassVar[int | None] = None

    request: APIRequest  # type: ignore[assignment]
    needs: ClassVar[Mapping[str, tuple[str, ...] | Door]] = {}
    schemes: ClassVar[tuple[TokenAuthentication, ...]] = (TokenAuthentication(),)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.needs = {
            method: (need,) if isinstance(need, str) else need
            for method, need in cls.scopes.items()
        }
        cls.schemes = tuple(scheme() for scheme in cls.authentication_classes)

    # The steps of a request, in order

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Take a request through all steps; failures become JSON."""
        try:
            return self.proceed(request, kwargs)
        except Exception as failure:
            return explain(failure, request.path)

    def proceed(self, request: Any, kwargs: dict[str, Any]) -> HttpResponse:
        """Find out who asks, decide, and hand on to the method."""
        method = request.method
        if method == "OPTIONS":
            return empty(200)
        handler = getattr(self, method.lower(), None) if method else None
        if handler is None or method == "HEAD":
            self.identify(request)
            return error(405, f"{method} is not supported here.")
        if "%" in request.path_info and not _is_text(spelt_path(request)):
            # Django spells such bytes as escapes, which may be in a name as well.
            return error(400, "The address is not text in UTF-8.")
        if "\0" in request.path_info:
            # No database stores this character, so no name contains it.
            return error(404, OUT_OF_REACH)
        if ENCODED_SLASH in request.path_info:
            for key, value in kwargs.items():
                kwargs[key] = value.replace(ENCODED_SLASH, "/")
            self.kwargs = kwargs
        self.identify(request)
        self.decide(request, method, bool(kwargs))
        return handler(request, **kwargs)

    def identify(self, request: Any) -> None:
        """Set the request's `access`, `bearer` and `actor`, credentials or not."""
        address = request.META.get("REMOTE_ADDR", "")
        for scheme in self.schemes:
            found = scheme.authenticate(request)
            if found is not None:
                request.user, bearer = found
                request.bearer = bearer
                request.access = bearer.access
                request.actor = bearer.actor(address)
                return
        request.bearer = None
        request.access = EMPTY
        request.actor = Actor("anonymous", "", None, address)
        # Without the middleware, any request may come from a page.
        if getattr(request, "caller", Caller.PAGE) is not Caller.PROGRAM:
            self.identify_by_cookie(request, address)

    def identify_by_cookie(self, request: Any, address: str) -> None:
        """Accept a browser's session, if the request comes from a page of the hub."""
        self.refuse_forged(request)
        content_type = request.META.get("CONTENT_TYPE", "")
        if (
            request.method == "POST"
            and content_type
            and not content_type.lower().startswith("application/json")
        ):
            # A foreign page can make a browser post forms, but no JSON.
            return
        user = request.user
        if user.is_authenticated and user.is_active:
            request.access = user.access
            request.actor = Actor("user", user.name, None, address)

    def refuse_forged(self, request: Any) -> None:
        """Raise `Forbidden` if a foreign page may have sent the request.

        The XSRF middleware decides; without it, every request is refused.
        """
        if PUBLIC in (self.needs.get(request.method),):
            return
        check = getattr(request, "check_xsrf", None)
        if check is None:
            raise Forbidden("This request can't be told from a forged one.")
        check()

    def decide(self, request: Any, method: str, names_an_object: bool) -> None:
        """Raise an error unless the request has the required scopes."""
        need = self.needs.get(method)
        if need is PUBLIC:
            return
        if request.actor.kind == "anonymous":
            raise Forbidden(MISSING_CREDENTIALS)
        if need is IDENTIFIED:
            return
        if not isinstance(need, tuple):
            raise Forbidden("This method is closed.")
        access = request.access
        if access.reach(*need) is None:
            return
        if method in self.narrows and self.model is not None:
            access.require_list(*need, model=self.model)
        elif names_an_object:
            access.require_for(self.subject(), *need)
        else:
            access.require(*need)

    def subject(self) -> Any:
        """Return the object of the address, to which filters are applied.

        It need not exist, because a filter may name an object that is about to be
        created. None means that no filter reaches it.
        """
        return None

    # Functions for methods

    def json(self) -> Any:
        """Return the body as JSON, whatever its content type; None if it is empty."""
        try:
            body = self.request.body
        except RawPostDataException:
            # The body was parsed as a form when its XSRF value was checked.
            raise Invalid("Invalid JSON in body of request") from None
        if not body:
            return None
        if self.largest_body is not None and len(body) > self.largest_body:
            # Parsing it would block all other threads for a while.
            raise Invalid(
                f"The body is larger than the {self.largest_body} bytes that are read "
                "at this address; send it in parts"
            )
        try:
            data = orjson.loads(body.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            raise Invalid("Invalid JSON in body of request") from None
        # The pattern is slower than all the rest, so it is applied only where it may
        # match.
        if b"\\u0000" in body and _ESCAPED_NUL.search(body):
            raise Invalid("The body holds a NUL character, which can't be stored")
        if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deep(data):
            raise Invalid(f"The body is nested more than {DEEPEST} levels deep")
        return data


def _is_text(path: str) -> bool:
    """Tell whether a path with escapes is text in UTF-8."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_deep(data: Any) -> bool:
    """Tell whether lists and objects are nested deeper than the limit."""
    level = [data]
    for _ in range(DEEPEST):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _status_of(refusal: Refusal) -> int:
    for kind, status in STATUS.items():
        if isinstance(refusal, kind):
            return status
    return 400


class UnknownView(HubAPIView):
    """All other addresses below the API."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return error(404, "There is nothing at this address.")
