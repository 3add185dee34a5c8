"""Tokens of users in the API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.adapter import AccountAdapter
from accounts.models import Role, User
from accounts.rights import (
    access_of,
    columns,
    identity_of,
    members_among,
    within_reach,
)
from api.authentication import SessionAuthentication
from api.base import APIRequest, HubAPIView, body_of, empty
from api.bodies import VALUES_WITH_SCOPES, OpenBodySerializer
from api.exceptions import OUT_OF_REACH
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.permissions import IsAuthenticated
from api.serializers import (
    ErrorSerializer,
    IssuedTokenSerializer,
    TokenListSerializer,
    TokenSerializer,
)
from audit.models import Actor
from database.statements import first_row
from scopes.access import Target
from scopes.grammar import LARGEST_WITH_SCOPES
from scopes.refusals import Forbidden, Invalid, NotFound
from servers.rights import user_target
from tokens import activity
from tokens.actions.issuing import issue_token
from tokens.actions.revocation import revoke_token
from tokens.authentication import TokenAuthentication
from tokens.clients import Client, describe
from tokens.models import APIToken
from web.outside import waits_for_others

DEFAULT_NOTE = "Requested via api"
# Most raw scopes of all tokens in one response, because each is expanded to several.
MOST_SCOPES_SHOWN = 5_000
# Raw scopes that are expanded to many.
MAX_ROLES = 100
REFUSED = "Invalid username or password"

# A longer text can't be the id of a row.
TOKEN_ID = re.compile(r"a([0-9]{1,18})")

# Written as SQL, because composing this statement costs more than all of its work.
FOUND = ("id", "user_id", "service_id", "client_id")  # in the order of the model
FIND = (
    f"SELECT {', '.join(f't.{column}' for column in FOUND)} "  # noqa: S608
    "FROM tokens_apitoken t JOIN accounts_user u ON u.id = t.user_id "
    "WHERE t.id = %s AND u.name = %s AND t.revoked_at IS NULL "
    "AND (t.expires_at IS NULL OR t.expires_at > %s)"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A user with the upper limit of the tokens' rights, read in one query."""

    user: User
    texts: tuple[str | None, ...]

    def scopes_of(self, token: APIToken, client: Client) -> list[str]:
        """Return a token's current scopes, limited by its owner's."""
        identity = identity_of("user", self.user.name, self.texts[0])
        texts = within_reach(token.client_id, self.texts)
        access = token.access_within(
            access_of("user", self.user.name, *texts), identity, client.identity
        )
        return sorted(access.scopes)


def find_owner(name: str) -> Owner | None:
    """Return a user with all data for the user's rights."""
    row = first_row(
        f"SELECT u.id, {', '.join(columns('user'))}"  # noqa: S608
        " FROM accounts_user u WHERE u.name = %s",
        (name,),
    )
    if row is None:
        return None
    user = User(pk=row[0], name=name)
    user._state.adding = False
    # The cached property of the user, which would take another query.
    user.access = access_of("user", name, *row[1:])
    return Owner(user, row[1:])


def token_json(token: APIToken, owner: Owner, client: Client) -> dict[str, Any]:
    """Return a token as the API shows it; `client` is the one that obtained it."""
    return {
        "user": owner.user.name,
        "id": f"a{token.pk}",
        "kind": "api_token",
        "roles": [],
        "scopes": owner.scopes_of(token, client),
        "created": token.created,
        "last_activity": token.last_activity,
        "expires_at": token.expires_at,
        "note": token.note,
        "session_id": token.session_id,
        "oauth_client": client.description,
    }


def up_to_a_size(tokens: Iterable[APIToken]) -> list[APIToken]:
    """Return the first tokens, up to the limit of scopes in one response."""
    shown: list[APIToken] = []
    scopes = 0
    for token in tokens:
        scopes += len(token.scopes)
        if shown and scopes > MOST_SCOPES_SHOWN:
            break
        shown.append(token)
    return shown


class NewTokenSerializer(OpenBodySerializer):
    """The fields of a new token; the action checks their values."""

    is_required = False
    largest = LARGEST_WITH_SCOPES
    most_values = VALUES_WITH_SCOPES

    note = serializers.CharField(allow_null=True, required=False)
    expires_in = serializers.IntegerField(min_value=1, allow_null=True, required=False)
    scopes = serializers.ListField(
        child=serializers.CharField(), allow_null=True, required=False
    )
    roles = serializers.ListField(
        child=serializers.CharField(), allow_null=True, required=False
    )
    auth = serializers.DictField(
        required=False, help_text="Name and password, of callers without a token."
    )


class RequestingSessionAuthentication(SessionAuthentication):
    """Accepts a browser's session; without one, a POST needs no XSRF value."""

    def enforce_csrf(self, request: Request) -> None:
        # The password in the body is stronger proof than a cookie.
        user: Any = request._request.user
        if request.method != "POST" or user.is_authenticated:
            super().enforce_csrf(request)


class PasswordAuthentication(BaseAuthentication):
    """Signs in with the name and password in the body, for this request only.

    Failures count towards the limits of the sign-in page. Users with a second factor
    have to use that page, because their password alone is not enough.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        if request.method != "POST":
            return None
        credentials = NewTokenSerializer().run_validation(body_of(request)).get("auth")
        if not isinstance(credentials, dict):
            raise Forbidden(
                'Send a token, or {"auth": {"username": …, "password": …}} in the body.'
            )
        name, password = credentials.get("username"), credentials.get("password")
        if not isinstance(name, str) or not isinstance(password, str):
            raise Forbidden("auth must hold a username and a password, both strings.")
        asked = request._request
        try:
            # A sign-in may create an account; a request for a token does not. Names
            # with and without an account take the same time and give the same message.
            user = AccountAdapter(asked).authenticate(
                asked, username=name, password=password, makes_account=False
            )
        except ValidationError as problem:
            raise Forbidden(" ".join(problem.messages)) from None
        if user is None:
            raise Forbidden(REFUSED)
        if is_mfa_enabled(user):
            raise Forbidden(
                "This account has a second factor: sign in with a browser at "
                f"{settings.HUB.base_url}hub/token to get a token."
            )
        return user, None


class UserTokensView(HubAPIView):
    """The tokens of one user."""

    authentication_classes = (
        TokenAuthentication,
        RequestingSessionAuthentication,
        PasswordAuthentication,
    )
    scopes: ClassVar = {"GET": "read:tokens", "POST": "tokens"}
    serializer_classes: ClassVar = {"POST": NewTokenSerializer}
    pagination_class = HubPagination

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    def get_permissions(self) -> Sequence[Any]:
        # `may_issue` checks this later, when the user has been read.
        if self.request.method == "POST":
            return [IsAuthenticated()]
        return super().get_permissions()

    @extend_schema(summary="List the tokens of a user", responses=TokenListSerializer)
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        activity.flush(usage=True)
        owner = find_owner(name)
        if owner is None:
            raise NotFound(f"No such user: {name}")
        page = self.paginator.read(request)
        rows = (
            APIToken.objects.owned_by(owner.user)
            .active(timezone.now())
            .order_by(Coalesce("last_activity", "created"), "pk")
        )
        tokens = up_to_a_size(rows[page.offset : page.offset + page.limit])
        clients = describe({token.client_id for token in tokens})
        items = [token_json(token, owner, clients[token.client_id]) for token in tokens]
        answer: dict[str, Any] = {"api_tokens": items}
        if page.enveloped:
            page.limit, page.count = len(tokens) or page.limit, rows.count()
            answer["_pagination"] = page.get_pagination()
        return Response(answer)

    @extend_schema(
        summary="Issue a token",
        responses={201: IssuedTokenSerializer, 409: ErrorSerializer},
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        body = self.read_body()
        owner = find_owner(name)
        if owner is None or not self.may_issue(owner):
            raise Forbidden(
                f"{request.actor.kind.capitalize()} {name} not found or no permissions "
                "to generate tokens"
            )
        token, secret = issue_token(
            owner.user,
            by=request.actor,
            scopes=read_scopes(body),
            note=read_note(body),
            usual_note=usual_note(request.actor, name),
            expires_in=body.get("expires_in"),
            **self.inherited_limits(owner),
        )
        shown = token_json(token, owner, describe(())[""])
        response = Response({**shown, "token": secret}, 201)
        response["Cache-Control"] = "no-store"
        return response

    def inherited_limits(self, owner: Owner) -> dict[str, Any]:
        """Return the limits of a token with which its owner requests another one.

        Otherwise a token could free itself of its limits by its successor.
        """
        bearer, by = self.request.auth, self.request.actor
        if bearer is None or (by.kind, by.name) != ("user", owner.user.name):
            return {}
        return {"networks": bearer.networks, "rate_limit": bearer.rate_limit}

    def may_issue(self, owner: Owner) -> bool:
        """Return whether the request may issue tokens of this user."""
        identity = identity_of("user", owner.user.name, owner.texts[0])
        target = Target(user=identity.name, group=identity.groups)
        access, by = self.request.access, self.request.actor
        if not access.allows("tokens", obj=target):
            return False
        return (by.kind, by.name) == ("user", owner.user.name) or access.may_hand_out(
            owner.user.scopes_beyond_role_user, "tokens", members_among
        )


class UserTokenView(HubAPIView):
    """One token of one user."""

    scopes: ClassVar = {"GET": "read:tokens", "DELETE": "tokens"}

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    @extend_schema(summary="Return a token", responses=TokenSerializer)
    def get(self, request: APIRequest, name: str, token_id: str) -> HttpResponse:
        activity.flush(usage=True)
        token = self.find(name, token_id)
        token.refresh_from_db()
        owner = find_owner(name)
        if owner is None:
            raise NotFound(OUT_OF_REACH)
        clients = describe([token.client_id])
        return Response(token_json(token, owner, clients[token.client_id]))

    @extend_schema(summary="Revoke a token", responses={204: None})
    def delete(self, request: APIRequest, name: str, token_id: str) -> HttpResponse:
        revoke_token(self.find(name, token_id), by=request.actor)
        return empty()

    def find(self, name: str, token_id: str) -> APIToken:
        """Return a valid token by the id that the API shows.

        Only the columns that identify tokens are read.
        """
        match = TOKEN_ID.fullmatch(token_id)
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        row = match and first_row(FIND, (int(match[1]), name, now))
        if not row:
            raise NotFound(f"No such token {token_id} for user {name}")
        return APIToken.from_db(DEFAULT_DB_ALIAS, FOUND, row)


def read_note(body: dict[str, Any]) -> Any:
    """Return the note in a body; the action checks its type."""
    note = body.get("note")
    if isinstance(note, int | float):
        # As in JupyterHub, a number is used as text, and true is one.
        return str(note + 0) if note else ""
    return note or ""


def usual_note(by: Actor, owner: str) -> str:
    """Return the note of a token for which nobody wrote one."""
    if by.kind == "user" and by.name == owner:
        return DEFAULT_NOTE
    return f"{DEFAULT_NOTE} by {by.kind} {by.name}"


def read_scopes(body: dict[str, Any]) -> Any:
    """Return the raw scopes in a body; roles are replaced by their scopes."""
    scopes, roles = body.get("scopes"), body.get("roles")
    if roles is None:
        # The action checks the scopes.
        return scopes
    if scopes is not None:
        raise Invalid("Can only assign one of scopes or roles when creating tokens.")
    if not isinstance(roles, list) or not all(isinstance(r, str) for r in roles):
        raise Invalid("token roles must be a list of strings or null")
    if len(roles) > MAX_ROLES:
        raise Invalid(f"{len(roles)} roles are too many: at most {MAX_ROLES}")
    known = dict(Role.objects.filter(name__in=roles).values_list("name", "scopes"))
    for role in roles:
        if role not in known:
            raise Invalid(f"No such role: {role}")
    return [scope for role in dict.fromkeys(roles) for scope in known[role]]


urlpatterns = [
    # A password in the body is checked as for a sign-in.
    path(
        "users/<name:name>/tokens",
        waits_for_others(UserTokensView.as_view(), "POST", unless_by_token=True),
    ),
    path("users/<name:name>/tokens/<name:token_id>", UserTokenView.as_view()),
]
