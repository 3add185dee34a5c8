"""The addresses with which services identified users before `GET /user`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.debug import sensitive_variables
from rest_framework.response import Response

from accounts.models import User
from api import user_json
from api.base import APIRequest, HubAPIView
from api.openapi.decorators import extend_schema
from api.permissions import AllowAny, IsAuthenticated
from api.renderers import json_response
from api.serializers import TOKEN_OWNER, ErrorSerializer, UserSerializer
from api.services import row_json, visible
from scopes.access import Identity, identify
from scopes.refusals import Forbidden, NotFound
from services.models import Service
from tokens.authentication import TokenAuthentication
from tokens.verification import verify


class TokenLookupView(HubAPIView):
    """The owner of a token, for holders of another."""

    scopes: ClassVar = {"GET": IsAuthenticated}

    @extend_schema(
        summary="Return the owner of a token", responses=TOKEN_OWNER, deprecated=True
    )
    @sensitive_variables()
    def get(self, request: APIRequest, token: str) -> HttpResponse:
        require_token(request)
        bearer = verify(token)
        if bearer is None:
            raise NotFound("No such token")
        name = bearer.owner_name
        request.access = request.access.joined(
            identify(Identity(bearer.owner_kind, name))
        )
        if bearer.owner_kind == "user":
            return json_response(user_json.user_text(request, name))
        service = Service.objects.get(pk=bearer.owner_id)
        return Response(row_json(service, visible(request.access, service)))


class TokenRequestView(HubAPIView):
    """The former address of token requests."""

    authentication_classes = (TokenAuthentication,)
    scopes: ClassVar = {"GET": AllowAny, "POST": AllowAny}

    @extend_schema(
        summary="Refused; add the token to the address",
        responses={404: ErrorSerializer},
        deprecated=True,
    )
    def get(self, request: APIRequest) -> HttpResponse:
        raise NotFound("Name the token: /authorizations/token/:token")

    @extend_schema(
        summary="Refused; POST to /users/{name}/tokens instead",
        responses={404: ErrorSerializer},
        deprecated=True,
    )
    def post(self, request: APIRequest) -> HttpResponse:
        raise NotFound("POST to /users/:user/tokens to request a token")


class CookieLookupView(HubAPIView):
    """The user of a session's cookie, for holders of a token."""

    scopes: ClassVar = {"GET": IsAuthenticated}

    @extend_schema(
        summary="Return the user of a session",
        responses=UserSerializer,
        deprecated=True,
    )
    def get(self, request: APIRequest, name: str, value: str = "") -> HttpResponse:
        require_token(request)
        user = None
        if name == settings.SESSION_COOKIE_NAME:
            # Old services sent the value in the body.
            told = value or request.body.decode("latin-1").strip().strip('"')
            user = user_of_session(told or request.COOKIES.get(name, ""))
        if user is None:
            raise NotFound("No such session")
        request.access = request.access.joined(identify(Identity("user", user.name)))
        return json_response(user_json.user_text(request, user.name))


def require_token(request: APIRequest) -> None:
    """Refuse a session, because a session must not query another."""
    if request.auth is None:
        raise Forbidden("Send a token in the Authorization header.")


def user_of_session(key: str) -> User | None:
    """Return the user of a session, with the same checks as for its cookie."""
    if "\0" in key:
        return None
    request: Any = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key or None)
    user: Any = get_user(request)
    return user if user.is_authenticated else None


urlpatterns = [
    path("authorizations/token", TokenRequestView.as_view()),
    path("authorizations/token/<name:token>", TokenLookupView.as_view()),
    path("authorizations/cookie/<name:name>", CookieLookupView.as_view()),
    path("authorizations/cookie/<name:name>/<name:value>", CookieLookupView.as_view()),
]
