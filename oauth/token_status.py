"""Introspection (RFC 7662) and revocation (RFC 7009) of tokens.

Introspection is for programs that receive tokens of others. A caller authenticates as a
client, or with a token of its own, and gets the state of a token that

* is the caller's own, or was issued to the calling client,
* gives access to the service or server of the calling client,
* belongs to somebody whose tokens the caller may read (`read:tokens`).

For all others, the answer is the same as for a token that does not exist.

Revocation is for those who hold a token and have no more use for it. A client revokes
the tokens that were issued to it. For a token that was issued to no client, as on the
page of tokens, the token itself is proof enough.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables
from oauthlib.common import Request
from oauthlib.oauth2 import IntrospectEndpoint, RequestValidator, RevocationEndpoint
from oauthlib.oauth2.rfc6749 import errors

from accounts.models import Group
from audit.models import Actor
from oauth.endpoint import FormEndpoint, answer, authenticate_client, read_form
from oauth.metadata import issuer_of
from oauth.models import OAuthClient
from oauth.validator import actor_of
from scopes.access import Target
from tokens.actions.revocation import revoke_tokens
from tokens.actions.rotation import end_earlier_secret
from tokens.authentication import HEADER
from tokens.models import APIToken, PreviousSecret
from tokens.networks import WrongNetwork
from tokens.verification import Bearer, find_secret, verify


class StatusValidator(RequestValidator):
    """Authenticates callers for oauthlib's endpoints."""

    def client_authentication_required(
        self, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        return True

    @sensitive_variables()
    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Set `client` or `bearer` of the request; one of them is enough."""
        request.client = authenticate_client(request)
        request.bearer = None
        match = HEADER.fullmatch(request.headers.get("Authorization") or "")
        if match is not None:
            if request.client is not None:
                raise errors.InvalidRequestError(
                    "Authenticate as a client or with a token, not both."
                )
            try:
                request.bearer = verify(match[1], request.address)
            except WrongNetwork as refusal:
                raise InvalidToken(refusal.message) from None
            if request.bearer is None:
                raise InvalidToken("The token in the header is not valid.")
        return request.client is not None or request.bearer is not None


class HolderValidator(StatusValidator):
    """Accepts callers who do not authenticate, too."""

    @sensitive_variables()
    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        request.client = authenticate_client(request)
        return True


class InvalidToken(errors.OAuth2Error):
    """RFC 6750, 3.1."""

    error = "invalid_token"
    status_code = 401


INTROSPECTION = IntrospectEndpoint(StatusValidator())
REVOCATION = RevocationEndpoint(HolderValidator())


class IntrospectionView(FormEndpoint):
    """Tells whether a token is active, whose it is and what it may do."""

    @sensitive_variables()
    def post(self, request: HttpRequest) -> HttpResponse:
        asked = read_form(request)
        INTROSPECTION.validate_introspect_request(asked)
        bearer = verify(asked.token)
        if bearer is None or not may_introspect(asked, bearer):
            return answer({"active": False})
        return answer(describe(bearer, issuer_of(request)))


class RevocationView(FormEndpoint):
    """Revokes a token at the request of its client or holder."""

    @sensitive_variables()
    def post(self, request: HttpRequest) -> HttpResponse:
        asked = read_form(request)
        REVOCATION.validate_revocation_request(asked)
        found = find_secret(asked.token)
        # An unknown token can't be used, which is all that the caller wants.
        if found is not None:
            revoke(found, asked)
        return answer({})


def may_introspect(asked: Request, bearer: Bearer) -> bool:
    """Return whether the caller may know about a token."""
    client: OAuthClient | None = asked.client
    if client is None:
        caller: Bearer = asked.bearer
        return caller.token_id == bearer.token_id or caller.access.allows(
            "read:tokens", obj=owner_of(bearer)
        )
    if bearer.client_id == client.identifier:
        return True
    if client.service is not None:
        target = Target(service=client.service.name)
        return bearer.access.allows("access:services", obj=target)
    target = Target(
        user=client.server_owner,
        server=client.server,
        group=lambda: groups_of(client.server_owner),
    )
    return bearer.access.allows("access:servers", obj=target)


def owner_of(bearer: Bearer) -> Target:
    """Return a token's owner as filters find it."""
    name = bearer.owner_name
    if bearer.owner_kind == "service":
        return Target(service=name)
    return Target(user=name, group=lambda: groups_of(name))


def groups_of(username: str) -> list[str]:
    groups = Group.objects.filter(users__name=username)
    return list(groups.values_list("name", flat=True))


def describe(bearer: Bearer, issuer: str) -> dict[str, Any]:
    """Return what introspection tells about an active token."""
    token = APIToken.objects.only("created", "expires_at").get(pk=bearer.token_id)
    described: dict[str, Any] = {
        "active": True,
        "scope": " ".join(sorted(bearer.access.scopes)),
        "token_type": "Bearer",
        "iss": issuer,
        "sub": f"{bearer.owner_kind}:{bearer.owner_name}",
        "username": bearer.owner_name,
        "kind": bearer.owner_kind,
        "jti": str(token),
        "iat": int(token.created.timestamp()),
    }
    if bearer.client_id:
        described["client_id"] = bearer.client_id
    if token.expires_at is not None:
        described["exp"] = int(token.expires_at.timestamp())
    return described


def revoke(found: APIToken | PreviousSecret, asked: Request) -> None:
    """Revoke one token; other tokens of its client stay valid.

    An earlier secret of a rotated token ends alone: its holder, perhaps a forgotten
    program or a thief, does not end the secret that replaced it.
    """
    token = found.token if isinstance(found, PreviousSecret) else found
    client: OAuthClient | None = asked.client
    if token.client_id != (client.identifier if client is not None else ""):
        raise errors.InvalidGrantError("The token was issued to another client.")
    if client is not None:
        by = actor_of(client, asked.address)
    else:
        by = Actor(token.owner_kind, token.owner.name, token.pk, asked.address)
    if isinstance(found, PreviousSecret):
        end_earlier_secret(found, by=by)
    else:
        revoke_tokens(APIToken.objects.filter(pk=token.pk), by=by)
