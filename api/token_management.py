"""Tokens by their ids, with all that their pages show and change.

These addresses are the hub's own, not JupyterHub's. `tokens.py` has JupyterHub's.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.response import Response

from api.base import APIRequest, HubAPIView, argument, empty
from api.bodies import (
    VALUES_WITH_SCOPES,
    BodySerializer,
    Flag,
    Names,
    Number,
    Text,
    check_names,
)
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.proof import require_recent_sign_in
from api.serializers import ErrorSerializer, Shape, names, text
from api.token_owners import is_wider, limits_of, may_issue, require_own_limits
from api.tokens import TOKEN_ID
from database.locks import locked
from scopes.access import Target
from scopes.grammar import LARGEST_WITH_SCOPES
from scopes.refusals import Forbidden, Invalid, NotFound
from tokens import activity
from tokens.actions.changes import (
    change_scopes,
    extend_token,
    is_widened,
    narrow_token,
    rename_token,
    set_limits,
)
from tokens.actions.pausing import (
    disable_tokens,
    enable_tokens,
    freeze_tokens,
    unfreeze_tokens,
)
from tokens.actions.revocation import revoke_token
from tokens.actions.rotation import rotate_token
from tokens.lists import CHOICES, TokenFilterForm
from tokens.models import APIToken, Purpose
from tokens.states import STATES, state_of

# A rotation that is repeated with the same value returns the same secret.
IDEMPOTENCY_KEY = "HTTP_IDEMPOTENCY_KEY"
ACTIONS = ("disable", "enable", "freeze", "unfreeze")


class ManagedTokenSerializer(Shape):
    """A token with its origin, its limits, its state and its last use."""

    id = text()
    kind = serializers.ChoiceField(("api_token",))
    user = text(required=False)
    service = text(required=False)
    begins_with = text()
    note = text()
    scopes = names()
    purpose = serializers.ChoiceField(Purpose.values, allow_blank=True)
    created = serializers.DateTimeField()
    created_via = text()
    created_by = text()
    created_address = text()
    last_activity = serializers.DateTimeField(allow_null=True)
    last_address = text()
    last_agent = text()
    last_endpoint = text()
    expires_at = serializers.DateTimeField(allow_null=True)
    rotated_at = serializers.DateTimeField(allow_null=True)
    networks = serializers.ListField(child=serializers.CharField(), allow_null=True)
    rate_limit = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(STATES)
    disabled_by = text()
    frozen_reason = text()


class RotatedTokenSerializer(ManagedTokenSerializer):
    """A rotated token with its new secret, which is shown only once."""

    token = text()


class ChangedTokenSerializer(BodySerializer):
    """The changes of a token; keys that are left out stay as they are."""

    noun = "token"
    largest = LARGEST_WITH_SCOPES
    most_values = VALUES_WITH_SCOPES

    note = Text()
    scopes = Names()
    expires_in = serializers.IntegerField(
        allow_null=True, required=False, help_text="Seconds from now; null for no end."
    )
    networks = serializers.ListField(
        child=serializers.CharField(), allow_null=True, required=False
    )
    rate_limit = serializers.IntegerField(
        allow_null=True, required=False, help_text="Requests in a minute."
    )

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the given keys; the actions check the values that may be null."""
        if not isinstance(data, dict) or not data:
            raise Invalid(f"Send an object with any of {', '.join(self.fields)}.")
        checked = {key: data[key] for key in NULLABLE if key in data}
        others = {key: data[key] for key in data if key not in NULLABLE}
        return {**checked, **super().run_validation(others)}


NULLABLE = ("expires_in", "networks", "rate_limit")


class RotationSerializer(BodySerializer):
    """How long the earlier secret works, and what its later use does."""

    noun = "rotation"
    is_required = False

    overlap = Number(help_text="Seconds.")
    freezes = Flag(help_text="Whether a later use of the earlier secret freezes.")

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return super().run_validation({} if data is None else data)


class ReasonSerializer(BodySerializer):
    """The reason of a change, for the owner and the audit log."""

    noun = "change"
    is_required = False

    reason = Text()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return super().run_validation({} if data is None else data)


class TokenFilter(BaseFilterBackend):
    """Filters by owner, purpose, state and text, and sorts."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        form = TokenFilterForm(request.query_params)
        if not form.is_valid():
            wrong = ", ".join(form.errors)
            raise Invalid(f"The value of {wrong} is not one of the choices.")
        if name := argument(request, "user"):
            queryset = queryset.filter(user__name=name)
        if name := argument(request, "service"):
            queryset = queryset.filter(service__name=name)
        if purpose := argument(request, "purpose"):
            if purpose not in Purpose.values:
                raise Invalid(f"purpose must be one of {', '.join(Purpose.values)}.")
            queryset = queryset.filter(purpose=purpose)
        return form.apply(queryset, timezone.now())

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        choices = {
            "state": [state for state in CHOICES if state],
            "sort": ["created", "expires", "note"],
            "purpose": Purpose.values,
        }
        described = [
            ("q", "A part of a note, a scope or a visible start, or an id."),
            ("state", "The state of the tokens."),
            ("sort", "The order; without it, by the last use."),
            ("purpose", "What the tokens are for."),
            ("user", "The owner, a user."),
            ("service", "The owner, a service."),
        ]
        return [
            {
                "name": name,
                "in": "query",
                "description": words,
                "schema": {
                    "type": "string",
                    **({"enum": choices[name]} if name in choices else {}),
                },
            }
            for name, words in described
        ]


def managed_json(token: APIToken) -> dict[str, Any]:
    """Return a token as these addresses show it; `scopes` are the granted ones."""
    owner = {token.owner_kind: token.owner.name}
    return {
        "id": str(token),
        "kind": "api_token",
        **owner,
        "begins_with": token.visible_start,
        **{name: getattr(token, name) for name in PLAIN},
        "state": state_of(token),
    }


PLAIN = (
    *("note", "scopes", "purpose", "created", "created_via", "created_by"),
    *("created_address", "last_activity", "last_address", "last_agent"),
    *("last_endpoint", "expires_at", "rotated_at", "networks", "rate_limit"),
    *("disabled_by", "frozen_reason"),
)


class TokensView(HubAPIView):
    """All tokens that the caller may see."""

    scopes: ClassVar = {"GET": "read:tokens"}
    list_of = APIToken
    pagination_class = HubPagination
    filter_backends = (TokenFilter,)

    @extend_schema(
        summary="List tokens of all owners", responses=ManagedTokenSerializer(many=True)
    )
    def get(self, request: APIRequest) -> HttpResponse:
        activity.flush()
        valid = APIToken.objects.active(timezone.now())
        seen = request.access.limit("read:tokens", queryset=valid)
        # Filters by group can reach a token by several ways.
        tokens = APIToken.objects.filter(pk__in=seen.values("pk"))
        tokens = self.filter_queryset(tokens)
        page = self.paginator.paginate_queryset(
            tokens.select_related("user", "service", "exchange__parent"), request
        )
        return self.paginator.get_paginated_response([managed_json(t) for t in page])


class OneTokenView(HubAPIView):
    """The base of views of one token, with the scopes of its owner."""

    object_of = APIToken

    def get_permission_object(self) -> Any:
        return self.token or Target()

    @property
    def token(self) -> APIToken | None:
        """The token of the address, valid or ended."""
        if not hasattr(self, "_token"):
            match = TOKEN_ID.fullmatch(self.kwargs["token_id"])
            rows = APIToken.objects.select_related("user", "service")
            self._token = match and rows.filter(pk=int(match[1])).first()
        return self._token

    def find(self) -> APIToken:
        """Return the token, or raise `NotFound`."""
        if self.token is None:
            raise NotFound(f"No such token: {self.kwargs['token_id']}")
        return self.token

    def find_valid(self) -> APIToken:
        """Return the token if it can still be changed."""
        token = self.find()
        if token.is_ended:
            raise NotFound(f"Token {token} has ended and can't be changed.")
        return token

    def require_issuing(self, token: APIToken) -> None:
        """Refuse callers who could not issue this token."""
        if not may_issue(self.request, token.owner):
            raise self.refusal(token)

    def require_own_limits(self, token: APIToken) -> None:
        """Refuse a limited token that would get around its limits by this one."""
        require_own_limits(
            self.request, token.owner, limits_of(token), f"token {token}"
        )

    @staticmethod
    def refusal(token: APIToken) -> Forbidden:
        return Forbidden(
            f"The owner of token {token} has more rights than you, so you may only see,"
            " rename, narrow, disable, freeze and revoke the token."
        )


class TokenView(OneTokenView):
    """One token."""

    scopes: ClassVar = {"GET": "read:tokens", "PATCH": "tokens", "DELETE": "tokens"}
    serializer_classes: ClassVar = {"PATCH": ChangedTokenSerializer}

    @extend_schema(
        summary="Return a token with its origin, limits and last use",
        responses=ManagedTokenSerializer,
    )
    def get(self, request: APIRequest, token_id: str) -> HttpResponse:
        activity.flush()
        token = self.find()
        token.refresh_from_db()
        return Response(managed_json(token))

    @extend_schema(
        summary="Change the note, the scopes, the expiry or the limits of a token",
        responses={200: ManagedTokenSerializer, 403: ErrorSerializer},
    )
    def patch(self, request: APIRequest, token_id: str) -> HttpResponse:
        data, token, by = self.read_body(), self.find_valid(), request.actor
        is_issuer = may_issue(request, token.owner)
        if not is_issuer and data.keys() - {"note", "scopes"}:
            raise self.refusal(token)
        # A refused change leaves the others undone.
        with transaction.atomic():
            # Keys that are left out stay as they are by now.
            rows = APIToken.objects.select_related("user", "service")
            token = locked(rows.filter(pk=token.pk)).first() or token
            if "scopes" in data:
                scopes = check_names(data["scopes"], "scopes")
                if is_issuer and is_widened(token, scopes):
                    require_recent_sign_in(request)
                change = change_scopes if is_issuer else narrow_token
                token = change(token, scopes, by=by)
            if "expires_in" in data:
                token = extend_token(token, data["expires_in"], by=by)
            if data.keys() & {"networks", "rate_limit"}:
                before = limits_of(token)
                token = set_limits(
                    token,
                    networks=data.get("networks", token.networks),
                    rate_limit=data.get("rate_limit", token.rate_limit),
                    by=by,
                )
                if is_wider(before, limits_of(token)):
                    self.require_own_limits(token)
            if "note" in data:
                token = rename_token(token, data["note"], by=by)
        return Response(managed_json(token))

    @extend_schema(summary="Revoke a token of any owner", responses={204: None})
    def delete(self, request: APIRequest, token_id: str) -> HttpResponse:
        revoke_token(self.find_valid(), by=request.actor)
        return empty()


class RotationView(OneTokenView):
    """Gives a token another secret."""

    scopes: ClassVar = {"POST": "tokens"}
    serializer_classes: ClassVar = {"POST": RotationSerializer}

    @extend_schema(
        summary="Rotate a token; with an Idempotency-Key a repeated call is harmless",
        responses={200: RotatedTokenSerializer, 409: ErrorSerializer},
    )
    @sensitive_variables("secret", "key")
    def post(self, request: APIRequest, token_id: str) -> HttpResponse:
        data, token = self.read_body(), self.find_valid()
        self.require_issuing(token)
        self.require_own_limits(token)
        require_recent_sign_in(request)
        key = request.META.get(IDEMPOTENCY_KEY, "")
        token, secret = rotate_token(token, by=request.actor, key=key, **data)
        response = Response({**managed_json(token), "token": secret})
        response["Cache-Control"] = "no-store"
        return response


class StateView(OneTokenView):
    """Disables, enables, freezes or unfreezes a token."""

    scopes: ClassVar = {"POST": "tokens"}
    serializer_classes: ClassVar = {"POST": ReasonSerializer}

    @extend_schema(
        summary="Disable, enable, freeze or unfreeze a token",
        responses={200: ManagedTokenSerializer},
    )
    def post(self, request: APIRequest, token_id: str, action: str) -> HttpResponse:
        if action not in ACTIONS:
            raise NotFound(f"A token has none of these: {', '.join(ACTIONS)}")
        reason, by = self.read_body().get("reason", ""), request.actor
        token = self.find_valid()
        if action in ("enable", "unfreeze"):
            self.require_issuing(token)
        if action == "unfreeze":
            require_recent_sign_in(request)
        row = APIToken.objects.filter(pk=token.pk)
        if action == "disable":
            disable_tokens(row, by=by)
        elif action == "enable":
            enable_tokens(row, by=by)
        elif action == "freeze":
            freeze_tokens(row, by=by, reason=reason or f"frozen by {by.label}")
        else:
            unfreeze_tokens(row, by=by)
        token.refresh_from_db()
        return Response(managed_json(token))


urlpatterns = [
    path("tokens", TokensView.as_view(), name="tokens"),
    path("tokens/<name:token_id>", TokenView.as_view()),
    path("tokens/<name:token_id>/rotate", RotationView.as_view()),
    path("tokens/<name:token_id>/<name:action>", StateView.as_view()),
]
