"""The base of OAuth2's endpoints for programs: forms in, JSON out, errors as in RFCs.

A request has its parameters in a form in the body, each at most once. A client
authenticates by HTTP Basic or by fields of the form (RFC 6749, 2.3.1), or not at all if
the endpoint serves everybody. Errors are JSON with `error` and `error_description` (RFC
6749, 5.2). No response may be cached.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson
from django.core.exceptions import (
    BadRequest,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import (
    sensitive_post_parameters,
    sensitive_variables,
)
from django.views.generic import View
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from oauth.actions import matches
from oauth.clients import find_client
from oauth.models import OAuthClient
from scopes.refusals import Refusal
from tokens.networks import WrongNetwork
from web.bodies import SMALL

FORM: Final = "application/x-www-form-urlencoded"

UNREADABLE: Final = (
    *(BadRequest, SuspiciousOperation),
    *(UnreadablePostError, MultiPartParserError),
)

# What is compared by digest: a text that can't be stored is nobody's secret.
SECRETS: Final = ("token", "subject_token")

NO_STORE: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
}


@method_decorator(csrf_exempt, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class FormEndpoint(View):
    """An endpoint that reads a form and answers in JSON."""

    http_method_names = ["post", "options"]  # noqa: RUF012

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return in_json(request, partial(super().dispatch, request, *args, **kwargs))

    def http_method_not_allowed(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        allowed = super().http_method_not_allowed(request, *args, **kwargs)
        problem = errors.InvalidRequestError(
            f"{request.method} is not supported here; send a form by POST.",
            status_code=405,
        )
        response = refuse(request, problem)
        response.headers["Allow"] = allowed.headers["Allow"]
        return response


class Refused(errors.OAuth2Error):
    """A refusal of the hub itself, such as a token's networks."""

    error = "access_denied"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.for_people, status_code=refusal.status)


def in_json(request: HttpRequest, call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the response to an error in the call."""
    try:
        return call()
    except errors.OAuth2Error as problem:
        return refuse(request, problem)
    except Refusal as refusal:
        return refuse(request, Refused(refusal))
    except RequestDataTooBig:
        return refuse(request, too_large())
    except UNREADABLE:
        return refuse(
            request, errors.InvalidRequestError("The request could not be read.")
        )


def read_form(request: HttpRequest) -> Request:
    """Return a form as oauthlib's request, or raise an error about its format."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length) > SMALL:
        raise too_large()
    kind = (request.content_type or "").lower()
    if kind != FORM:
        raise errors.InvalidRequestError(f"Send a form: Content-Type: {FORM}.")
    if request.GET:
        raise errors.InvalidRequestError(
            "Send the parameters in the body, not in the address."
        )
    if any(
        "\0" in text
        for name, texts in request.POST.lists()
        if name not in SECRETS
        for text in (name, *texts)
    ):
        raise errors.InvalidRequestError("Parameters can't hold a NUL character.")
    asked = Request(
        request.path,
        "POST",
        # Rebuilt, because oauthlib fails at some input.
        request.POST.urlencode(),
        {"Content-Type": FORM, "Authorization": authorization(request)},
    )
    if asked.duplicate_params:
        raise errors.InvalidRequestError("Send each parameter only once.")
    # oauthlib would take these from the form.
    for name in ("client", "user", "scopes", "promise", "bearer"):
        setattr(asked, name, None)
    asked.address = request.META.get("REMOTE_ADDR", "")
    return asked


def authorization(request: HttpRequest) -> str:
    header: str = request.META.get("HTTP_AUTHORIZATION", "")
    return header


def answer(document: object, status: int = 200) -> HttpResponse:
    """Return a document as JSON that nobody may cache."""
    return HttpResponse(orjson.dumps(document), status=status, headers=NO_STORE)


def refuse(request: HttpRequest, problem: errors.OAuth2Error) -> HttpResponse:
    """Return the response to an error."""
    said = {"error": problem.error, "error_description": problem.description}
    response = answer(
        {key: text for key, text in said.items() if text}, problem.status_code
    )
    if problem.status_code == 401:
        scheme = authorization(request).partition(" ")[0].lower()
        response.headers["WWW-Authenticate"] = (
            'Basic realm="hub"'
            if scheme == "basic"
            else f'Bearer realm="hub", error="{problem.error}"'
        )
    if (seconds := getattr(problem, "retry_after", None)) is not None:
        response.headers["Retry-After"] = str(seconds)
    return response


def too_large() -> errors.OAuth2Error:
    return errors.InvalidRequestError(
        f"A form has at most {SMALL} bytes.", status_code=413
    )


@sensitive_variables()
def authenticate_client(asked: Request) -> OAuthClient | None:
    """Return the client that a request authenticates; None if it names no secret.

    A client that fails to authenticate, or does so in two ways, is refused.
    """
    scheme, _, text = (asked.headers.get("Authorization") or "").partition(" ")
    identifier, secret = asked.client_id, asked.client_secret
    if scheme.lower() == "basic":
        if secret is not None:
            raise errors.InvalidRequestError(
                "Authenticate in the header or in the body, not in both."
            )
        told, secret = _read_basic(text.strip())
        if identifier is not None and identifier != told:
            raise errors.InvalidRequestError("Header and body name different clients.")
        identifier = told
    if secret is None:
        return None
    client = find_client(identifier)
    try:
        if client is None or not matches(client, secret, asked.address):
            raise errors.InvalidClientError("Unknown client, or a wrong secret.")
    except WrongNetwork as refusal:
        raise errors.InvalidClientError(refusal.message) from None
    return client


@sensitive_variables()
def _read_basic(text: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise errors.InvalidClientError("The header is not HTTP Basic.") from None
    identifier, _, secret = pair.partition(":")
    return unquote_plus(identifier), unquote_plus(secret)
