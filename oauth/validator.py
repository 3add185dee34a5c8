"""The rules of OAuth2 on this hub, as callbacks of oauthlib.

There is one grant, the authorization code, with or without PKCE; clients authenticate
by a secret in the body; there are no refresh tokens. An oauthlib request carries our
rows: `client`, `user`, and `promise`, the row of the code that is exchanged.
"""

from __future__ import annotations

import re
from typing import Any, Final

from django.conf import settings
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from oauthlib.common import Request
from oauthlib.oauth2 import AuthorizationCodeGrant, BearerToken, RequestValidator
from oauthlib.oauth2.rfc6749 import errors

from audit.models import Actor
from oauth.actions import find_code, matches, redeem_code
from oauth.clients import find_client
from oauth.grants import read_request, required_scopes
from oauth.models import OAuthClient
from scopes.refusals import Invalid, NotFound
from tokens.networks import WrongNetwork

CHALLENGE: Final = re.compile(r"[!-~]{1,128}")


class HubValidator(RequestValidator):
    """Implements oauthlib's callbacks, for one request at a time."""

    # Requests of browsers for a code

    def validate_client_id(
        self, client_id: str, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        request.client = find_client(client_id)
        return request.client is not None

    def validate_redirect_uri(
        self,
        client_id: str,
        redirect_uri: str,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        return redirect_uri == request.client.redirect_uri

    def get_default_redirect_uri(
        self, client_id: str, request: Request, *args: Any, **kwargs: Any
    ) -> str:
        return request.client.redirect_uri

    def validate_response_type(
        self,
        client_id: str,
        response_type: str,
        client: Any,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        # oauthlib accepts other types that contain `code`.
        if response_type != "code":
            raise errors.UnsupportedResponseTypeError(request=request)
        challenge = request.code_challenge
        if challenge is not None and not CHALLENGE.fullmatch(challenge):
            raise errors.InvalidRequestError("Invalid code_challenge.", request=request)
        return True

    def is_pkce_required(self, client_id: str, request: Request) -> bool:
        return settings.HUB.oauth_require_pkce

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
        try:
            request.scopes = read_request(request.client, request.user, scopes)
        except Invalid:
            return False
        return True

    # Requests of clients for a token

    def client_authentication_required(
        self, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        return True

    @sensitive_variables()
    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        client = find_client(request.client_id)
        secret = request.client_secret or ""
        try:
            if client is None or not matches(client, secret, request.address):
                return False
        except WrongNetwork as refusal:
            raise errors.InvalidClientError(refusal.message, request=request) from None
        request.client = client
        return True

    def authenticate_client_id(
        self, client_id: str, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        return False

    def validate_grant_type(
        self,
        client_id: str,
        grant_type: str,
        client: Any,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        return grant_type == "authorization_code"

    def validate_code(
        self,
        client_id: str,
        code: str,
        client: Any,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        promise = find_code(code, client, timezone.now())
        if promise is None:
            return False
        request.promise = promise
        request.user = promise.user
        # As in JupyterHub's response, the scopes of every grant are listed beside
        # `inherit`.
        request.scopes = sorted({*promise.scopes, *required_scopes(client)})
        return True

    def get_code_challenge(self, code: str, request: Request) -> str | None:
        return request.promise.code_challenge or None

    def get_code_challenge_method(self, code: str, request: Request) -> str | None:
        return request.promise.code_challenge_method or None

    def confirm_redirect_uri(
        self,
        client_id: str,
        code: str,
        redirect_uri: str,
        client: Any,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        # RFC 6749, 4.1.3: the parameters of the code's request must be repeated.
        asked_for = request.promise.redirect_uri
        if request.using_default_redirect_uri:
            return not asked_for
        return redirect_uri == (asked_for or client.redirect_uri)

    @sensitive_variables()
    def save_bearer_token(
        self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any
    ) -> str:
        """Replace oauthlib's token by a token of the hub."""
        try:
            by = actor_of(request.client, request.address)
            _, secret = redeem_code(request.promise, by=by)
        except NotFound:
            raise errors.InvalidGrantError(request=request) from None
        token["access_token"] = secret
        return request.redirect_uri

    def invalidate_authorization_code(
        self, client_id: str, code: str, request: Request, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing, because issuing the token has deleted the code."""


def actor_of(client: OAuthClient, address: str) -> Actor:
    """Return the actor for the audit log: a service, or the owner of a server."""
    identity = client.identity
    if identity.kind == "service":
        return Actor("service", identity.name, None, address)
    return Actor("user", identity.name.partition("/")[0], None, address)


class CodeGrant(AuthorizationCodeGrant):
    """The only grant."""

    refresh_token = False
    default_response_mode = "query"

    def validate_token_request(self, request: Request) -> None:
        # oauthlib would accept OpenID's name of this type.
        if request.grant_type != "authorization_code":
            raise errors.UnsupportedGrantTypeError(request=request)
        super().validate_token_request(request)

    def _handle_redirects(self, request: Request) -> None:
        # oauthlib requires a host, but services behind the proxy are on the hub's own
        # host.
        request.using_default_redirect_uri = request.redirect_uri is None
        if request.redirect_uri is None:
            request.redirect_uri = request.client.redirect_uri
        elif request.redirect_uri != request.client.redirect_uri:
            raise errors.MismatchingRedirectURIError(request=request)


grant_type = CodeGrant(HubValidator())


def token_handler() -> BearerToken:
    """Return the object with which oauthlib writes the response."""
    return BearerToken(
        grant_type.request_validator, expires_in=settings.HUB.oauth_token_expires_in
    )
