"""The base of the API's views.

Views are Django REST framework's, and a request takes DRF's steps: authentication
(`tokens/authentication.py`, `authentication.py`), permission (`permissions.py`) and the
handler of the method. `exceptions.py` converts exceptions to responses.

A view declares for each method the scopes of which one is needed:

    class UserView(HubAPIView):
        scopes = {"GET": ("read:users", "read:users:name"), "DELETE": "delete:users"}

        def get_permission_object(self) -> Target: ...

Instead of scopes a method may declare a permission class: `AllowAny` (no credential
needed) or `IsAuthenticated` (any valid credential). A method without a declaration is
closed.

A scope may have a filter. The view decides its effect:

* `get_permission_object()` returns the object of the address. A filter that does not
  reach the object gives 404, whether or not the object exists.
* where `list_of` is set to a model, GET limits its response to the rows of that model
  that the filter reaches.
* all others need the scope without a filter, and give 403 otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpResponse
from django.utils.functional import cached_property
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.filters import BaseFilterBackend
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from accounts.hosting.refresh import note_token
from api import converters  # noqa: F401  (registers the converter of names)
from api.authentication import SessionAuthentication
from api.bodies import USUAL_VALUES, BodySerializer
from api.negotiation import OnlyJSON
from api.pagination import HubPagination
from api.parsers import JSONParser
from api.permissions import HasScope, NothingHere
from api.renderers import JSONRenderer
from audit.models import Actor
from scopes.access import EMPTY, Access
from scopes.refusals import Busy
from tokens.authentication import TokenAuthentication
from tokens.rates import TokenThrottle
from tokens.verification import Bearer
from web.bodies import SMALL, limits_bodies

Scopes = str | tuple[str, ...] | type[BasePermission]


METHODS = ("get", "post", "put", "patch", "delete")


class APIRequest(Request):
    """The type of requests in views; exists for the type checker only."""

    access: Access
    actor: Actor
    auth: Bearer | None  # type: ignore[assignment]


def argument(request: Request, name: str, default: str = "") -> str:
    """Return the last value of a query parameter, without blanks around it."""
    return _CONTROLS.sub(" ", request.query_params.get(name, default)).strip()


_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")


def body_of(request: Request) -> Any:
    """Return the parsed body, which may be any JSON value; None if it is empty.

    DRF's `data` would be an empty object then, which some methods accept.
    """
    return None if request.stream is None else request.data


def empty(status: int = 204, content_type: str = "application/json") -> HttpResponse:
    """Return a response without a body."""
    response = HttpResponse(status=status, content_type=content_type)
    if status == 204:
        del response["Content-Type"]
    return response


class HubAPIView(APIView):
    """Base class of the API's views."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (
        TokenAuthentication,
        SessionAuthentication,
    )
    permission_classes: Sequence[type[BasePermission]] = (HasScope,)
    throttle_classes: Sequence[type[BaseThrottle]] = (TokenThrottle,)
    parser_classes = (JSONParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = OnlyJSON
    http_method_names = [*METHODS, "options"]  # noqa: RUF012  (as Django's)
    # JupyterHub sends neither `Allow` nor `Vary`.
    default_response_headers: ClassVar[dict[str, str]] = {}  # type: ignore[misc]

    scopes: ClassVar[Mapping[str, Scopes]] = {}
    # The format of the body for each method that reads one.
    serializer_classes: ClassVar[Mapping[str, type[BodySerializer]]] = {}
    list_of: ClassVar[type[Model] | None] = None
    # The model of the object of the address, if `get_permission_object` returns a row.
    object_of: ClassVar[type[Model] | None] = None
    # The pages of a GET that returns a long list.
    pagination_class: type[HubPagination] | None = None
    filter_backends: Sequence[type[BaseFilterBackend]] = ()

    request: APIRequest

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        largest = {name.upper(): cls.largest_body(name.upper()) for name in METHODS}
        return limits_bodies(super().as_view(**initkwargs), largest)

    def filter_queryset(self, queryset: Any) -> Any:
        """Apply the filters of this view, like DRF's generic views."""
        for backend in self.filter_backends:
            queryset = backend().filter_queryset(self.request, queryset, self)
        return queryset

    @classmethod
    def largest_body(cls, method: str | None) -> int:
        """Return the length in bytes of the longest body of a method."""
        serializer_class = cls.serializer_classes.get(method or "")
        return SMALL if serializer_class is None else serializer_class.largest

    @classmethod
    def most_values(cls, method: str | None) -> int:
        """Return the number of values of the fullest body of a method."""
        serializer_class = cls.serializer_classes.get(method or "")
        if serializer_class is None:
            return USUAL_VALUES
        return serializer_class.most_values

    def has_handler(self, method: str) -> bool:
        """Return whether the view has a handler for a method."""
        name = method.lower()
        return name in self.http_method_names and hasattr(self, name)

    def get_permission_object(self) -> Any:
        """Return the object of the address, to which filters are applied.

        It need not exist, because a filter may name an object that is about to be
        created. None means that no filter reaches it.
        """
        return None

    def perform_authentication(self, request: Request) -> None:
        """Set the request's `access` and `actor`, credentials or not."""
        super().perform_authentication(request)
        asked: Any = request
        if asked.auth is not None:
            asked.access = asked.auth.access
            if settings.HUB.is_hosted:
                bearer = asked.auth
                note_token(bearer.owner_kind, bearer.owner_id, bearer.facts)
        elif asked.user.is_authenticated:
            asked.access = asked.user.access
        else:
            asked.access = EMPTY
        # The access log reads the actor from Django's request.
        asked.actor = asked._request.actor = Actor.of_request(asked)
        # Before the permissions, so that refused requests count, too.
        if getattr(asked.auth, "rate_limit", None) is not None:
            self.check_throttles(request)

    def throttled(self, request: Request, wait: float | None) -> NoReturn:
        seconds = ceil(wait or 1)
        limit = getattr(request.auth, "rate_limit", None)
        raise Busy(
            f"This token may make {limit} requests in a minute, and has made them. Try"
            f" again in {seconds} seconds.",
            seconds,
        )

    def http_method_not_allowed(
        self, request: Any, *args: Any, **kwargs: Any
    ) -> Response:
        method = request.method or ""
        raise MethodNotAllowed(method, f"{method} is not supported here.")

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return empty(200)

    @cached_property
    def paginator(self) -> HubPagination:
        """The paginator of a list, as in DRF's generic views."""
        if self.pagination_class is None:
            raise ImproperlyConfigured(f"{type(self).__name__} returns no pages.")
        return self.pagination_class()

    @property
    def body(self) -> Any:
        """The parsed body, which may be any JSON value; None if it is empty."""
        return body_of(self.request)

    def read_body(self) -> Any:
        """Return the body's fields, checked by the serializer of the method."""
        serializer_class = self.serializer_classes[self.request.method or ""]
        serializer = serializer_class(data=self.body)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data


class UnknownView(HubAPIView):
    """All other addresses below the API."""

    authentication_classes = ()
    permission_classes = (NothingHere,)
