"""The device authorization grant (RFC 8628): sign-in for terminals and notebooks.

A program without a browser of its own asks for two codes, shows the short one, and asks
again and again at the token endpoint until the person has decided in any browser
(`device_pages.py`). Such a program needs no registration: it chooses its `client_id`
itself, and the person is told that nobody has verified it. The token is an ordinary
token of the person.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from oauthlib.common import Request
from oauthlib.oauth2 import (
    BearerToken,
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    RequestValidator,
)
from oauthlib.oauth2.rfc6749 import errors

from audit.models import Actor
from oauth import device_actions
from oauth.device_actions import INTERVAL, SECONDS
from oauth.endpoint import FormEndpoint, answer, authenticate_client, read_form
from oauth.metadata import DEVICE_CODE, issuer_of
from oauth.models import DEVICE_LENGTH, PROGRAM_LENGTH, OAuthClient
from scopes.grammar import check_number, check_scopes
from scopes.refusals import Busy, Invalid, Refusal

PROGRAM: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{PROGRAM_LENGTH - 1}}}")


class TooManyRequests(errors.OAuth2Error):
    """RFC 6749 has no code for this at these endpoints; `slow_down` is RFC 8628's."""

    error = "slow_down"
    status_code = 429

    def __init__(self, refusal: Busy) -> None:
        super().__init__(refusal.message)
        self.retry_after = refusal.retry_after


@dataclass(frozen=True, slots=True)
class Program:
    """A client without registration, in the form that oauthlib requires."""

    client_id: str


class DeviceValidator(RequestValidator):
    """Implements oauthlib's callbacks; `request.promise` is the row of a device."""

    def validate_client_id(
        self, client_id: str, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        if not settings.HUB.device_sign_in:
            raise errors.UnauthorizedClientError("This hub has no sign-in of devices.")
        if not PROGRAM.fullmatch(client_id):
            raise errors.InvalidRequestError(
                "A client_id has letters, digits, dots, dashes and underscores, at most"
                f" {PROGRAM_LENGTH}."
            )
        return True

    def client_authentication_required(
        self, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        return False

    def authenticate_client_id(
        self, client_id: str, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        known = OAuthClient.objects.filter(identifier=client_id)
        if authenticate_client(request) is not None or known.exists():
            # Its redirect address proves more than a code that a person types.
            raise errors.UnauthorizedClientError(
                "Clients with a secret use the grant authorization_code."
            )
        request.client = Program(client_id)
        return True

    def get_default_scopes(
        self, client_id: str, request: Request, *args: Any, **kwargs: Any
    ) -> list[str]:
        return []

    def validate_scopes(
        self,
        client_id: str,
        scopes: list[str],
        client: Any,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        if request.promise is not None:
            return True
        try:
            check_number(scopes, holder="device")
            check_scopes(scopes)
        except Invalid as refusal:
            raise errors.InvalidScopeError(refusal.message) from None
        return True

    def validate_grant_type(
        self,
        client_id: str,
        grant_type: str,
        client: Any,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        return grant_type == DEVICE_CODE

    @sensitive_variables()
    def validate_device_code(
        self, client_id: str, device_code: str, request: Request, *args: Any
    ) -> str | None:
        found = device_actions.find_by_device_code(device_code, client_id)
        now = timezone.now()
        if found is None:
            return None
        if found.expires_at <= now:
            return str(DeviceCodeGrant.DEVICE_CODE_EXPIRED)
        if found.denied_at is not None:
            return str(DeviceCodeGrant.DEVICE_CODE_DENIED)
        if found.approved_at is None:
            if device_actions.note_poll(found, now):
                return str(DeviceCodeGrant.DEVICE_CODE_PENDING)
            return str(DeviceCodeGrant.DEVICE_CODE_SLOW_DOWN)
        request.promise = found
        request.user = found.user
        request.scopes = list(found.scopes)
        return str(DeviceCodeGrant.DEVICE_CODE_AUTHORIZED)

    @sensitive_variables()
    def save_bearer_token(
        self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any
    ) -> None:
        """Replace oauthlib's token by a token of the hub."""
        user = request.user
        try:
            issued, secret = device_actions.redeem(
                request.promise, by=Actor("user", user.name, None, request.address)
            )
        except Refusal as refusal:
            raise errors.InvalidGrantError(refusal.for_people) from None
        token["access_token"] = secret
        describe_life(token, issued)


def describe_life(token: dict[str, Any], issued: Any) -> None:
    """Set `expires_in` to the seconds that a new token has; none if it never ends."""
    del token["expires_in"]
    if issued.expires_at is not None:
        left = issued.expires_at - issued.created
        token["expires_in"] = int(left.total_seconds())


class TerminalGrant(DeviceCodeGrant):
    """The grant without refresh tokens."""

    refresh_token = False


grant = TerminalGrant(DeviceValidator())


class DeviceAuthorizationView(FormEndpoint):
    """Gives a program the codes with which it and a person continue."""

    @sensitive_variables()
    def post(self, request: HttpRequest) -> HttpResponse:
        asked = read_form(request)
        endpoint = DeviceAuthorizationEndpoint(DeviceValidator(), verification_uri="")
        endpoint.validate_device_authorization_request(asked)
        now = timezone.now()
        device_actions.sweep(now)
        try:
            codes = device_actions.ask(
                program=asked.client_id,
                device=read_device(request.POST.get("device_name", "")),
                scopes=asked.scopes,
                address=asked.address,
                now=now,
            )
        except Busy as refusal:
            raise TooManyRequests(refusal) from None
        page = f"{issuer_of(request)}/hub/device"
        return answer(
            {
                "device_code": codes.device_code,
                "user_code": codes.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={codes.user_code}",
                "expires_in": SECONDS,
                "interval": INTERVAL,
            }
        )


def read_device(name: str) -> str:
    """Return what a program says of its device, as one line of text."""
    return "".join(filter(str.isprintable, name)).strip()[:DEVICE_LENGTH]


@sensitive_variables()
def answer_poll(request: HttpRequest) -> HttpResponse:
    """Answer a program that asks whether its person has decided."""
    asked = read_form(request)
    if not settings.HUB.device_sign_in:
        raise errors.UnauthorizedClientError("This hub has no sign-in of devices.")
    if not asked.client_id:
        raise errors.InvalidRequestError("Missing client_id parameter.")
    _, text, status = grant.create_token_response(
        asked, BearerToken(grant.request_validator)
    )
    return answer(orjson.loads(text), status)
