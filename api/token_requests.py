"""Requests for tokens that an administrator has to approve, as their pages show them.

These addresses are the hub's own, not JupyterHub's.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.response import Response

from accounts.models import User
from api.base import APIRequest, HubAPIView, argument, empty
from api.bodies import BodySerializer, Names, Text, check_names
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.proof import require_recent_sign_in
from api.serializers import ErrorSerializer, Shape, names, text
from api.token_management import ManagedTokenSerializer, managed_json
from api.token_owners import may_issue, require_own_limits
from api.tokens import TOKEN_ID
from scopes.access import Target
from scopes.grammar import LARGEST_WITH_SCOPES
from scopes.refusals import Forbidden, Invalid, NotFound
from servers.rights import user_target
from tokens import approvals
from tokens.models import APIToken, CreatedVia, TokenRequest

REQUEST_ID = re.compile(r"r([0-9]{1,18})")
STATES = {state.name.lower(): state for state in TokenRequest.State}
DECISIONS = {"approve": True, "refuse": False}


class TokenRequestSerializer(Shape):
    """A request for a token, or for a change of one."""

    id = text()
    kind = serializers.ChoiceField(("token_request",))
    user = text()
    token = text(allow_null=True)
    note = text()
    reason = text()
    scopes = names(allow_null=True)
    expires_in = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(tuple(STATES))
    created = serializers.DateTimeField()
    created_via = text()
    created_by = text()
    created_address = text()
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = text()
    decision_note = text()


class CollectedTokenSerializer(ManagedTokenSerializer):
    """A token with its secret, which is shown only once."""

    token = text()


class AskSerializer(BodySerializer):
    """What is asked for: a new token, or wider scopes or a longer life of `token`."""

    noun = "request"
    largest = LARGEST_WITH_SCOPES

    reason = Text(required=True, help_text="For the administrator who decides.")
    note = Text()
    token = Text(help_text="The id of a token that is to be changed.")
    scopes = Names(allow_null=True)
    expires_in = serializers.IntegerField(
        allow_null=True, required=False, help_text="Seconds; null for no end."
    )

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        """Return the given keys; the action checks the values that may be null."""
        if not isinstance(data, dict):
            return super().run_validation(data)
        loose = {
            key: data[key]
            for key in ("expires_in", "scopes")
            if (key == "expires_in" and key in data) or data.get(key, "") is None
        }
        others = {key: data[key] for key in data if key not in loose}
        return {**loose, **super().run_validation(others)}


class DecisionSerializer(BodySerializer):
    """A note for the person who asked."""

    noun = "decision"
    is_required = False

    note = Text()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return super().run_validation({} if data is None else data)


class RequestFilter(BaseFilterBackend):
    """Filters by the state, and by the person who asked."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        if state := argument(request, "state"):
            if state not in STATES:
                raise Invalid(f"state must be one of {', '.join(STATES)}.")
            queryset = queryset.filter(state=STATES[state])
        if name := argument(request, "user"):
            queryset = queryset.filter(user__name=name)
        return queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": "state",
                "in": "query",
                "description": "The state of the requests.",
                "schema": {"type": "string", "enum": list(STATES)},
            },
            {
                "name": "user",
                "in": "query",
                "description": "The user who asked.",
                "schema": {"type": "string"},
            },
        ]


def request_json(asked: TokenRequest) -> dict[str, Any]:
    """Return a request as these addresses show it."""
    return {
        "id": str(asked),
        "kind": "token_request",
        "user": asked.user.name,
        "token": None if asked.token_id is None else f"a{asked.token_id}",
        **{name: getattr(asked, name) for name in PLAIN},
        "state": TokenRequest.State(asked.state).name.lower(),
    }


PLAIN = (
    *("note", "reason", "scopes", "expires_in", "created", "created_via"),
    *("created_by", "created_address", "decided_at", "decided_by", "decision_note"),
)


class RequestsView(HubAPIView):
    """All requests that the caller may see, the latest first."""

    scopes: ClassVar = {"GET": "read:tokens"}
    list_of = TokenRequest
    pagination_class = HubPagination
    filter_backends = (RequestFilter,)

    @extend_schema(
        summary="List requests for tokens that need an approval",
        responses=TokenRequestSerializer(many=True),
    )
    def get(self, request: APIRequest) -> HttpResponse:
        seen = request.access.limit(
            "read:tokens", queryset=TokenRequest.objects.order_by()
        )
        # Filters by group can reach a request by several ways.
        rows = TokenRequest.objects.filter(pk__in=seen.values("pk"))
        rows = self.filter_queryset(rows)
        page = self.paginator.paginate_queryset(
            rows.select_related("user").order_by("-pk"), request
        )
        return self.paginator.get_paginated_response([request_json(r) for r in page])


class AskView(HubAPIView):
    """The requests of one user."""

    scopes: ClassVar = {"POST": "tokens"}
    serializer_classes: ClassVar = {"POST": AskSerializer}

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    @extend_schema(
        summary="Ask an administrator for a token, or for more rights of one",
        responses={201: TokenRequestSerializer, 409: ErrorSerializer},
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        data = {"reason": "", **self.read_body()}
        user = User.objects.filter(name=name).first()
        if user is None:
            raise NotFound(f"No such user: {name}")
        if not may_issue(request, user):
            raise Forbidden(f"User {name} has more rights than you.")
        if data.get("scopes") is not None:
            data["scopes"] = check_names(data["scopes"], "scopes")
        if "token" in data:
            data["token"] = _token(data["token"])
        asked = approvals.ask(user, by=request.actor, via=CreatedVia.API, **data)
        return Response(request_json(asked), 201)


def _token(text: str) -> APIToken:
    match = TOKEN_ID.fullmatch(text)
    token = match and APIToken.objects.filter(pk=int(match[1])).first()
    if not token:
        raise NotFound("There is no such token.")
    return token


class OneRequestView(HubAPIView):
    """The base of views of one request, with the scopes of the user who asked."""

    object_of = TokenRequest

    def get_permission_object(self) -> Any:
        return self.asked or Target()

    @property
    def asked(self) -> TokenRequest | None:
        """The request of the address."""
        if not hasattr(self, "_asked"):
            match = REQUEST_ID.fullmatch(self.kwargs["request_id"])
            rows = TokenRequest.objects.select_related("user", "token")
            self._asked = match and rows.filter(pk=int(match[1])).first()
        return self._asked

    def find(self) -> TokenRequest:
        """Return the request, or raise `NotFound`."""
        if self.asked is None:
            raise NotFound(f"No such request: {self.kwargs['request_id']}")
        return self.asked

    def find_own(self) -> TokenRequest:
        """Return the request if the caller may act for the user who asked."""
        asked = self.find()
        if not may_issue(self.request, asked.user):
            raise Forbidden(f"User {asked.user.name} has more rights than you.")
        return asked


class RequestView(OneRequestView):
    """One request."""

    scopes: ClassVar = {"GET": "read:tokens", "DELETE": "tokens"}

    @extend_schema(
        summary="Return a request for a token", responses=TokenRequestSerializer
    )
    def get(self, request: APIRequest, request_id: str) -> HttpResponse:
        return Response(request_json(self.find()))

    @extend_schema(
        summary="Withdraw a request for a token",
        responses={204: None, 409: ErrorSerializer},
    )
    def delete(self, request: APIRequest, request_id: str) -> HttpResponse:
        approvals.withdraw(self.find_own(), by=request.actor)
        return empty()


class CollectView(OneRequestView):
    """Issues the token of an approved request."""

    scopes: ClassVar = {"POST": "tokens"}

    @extend_schema(
        summary="Collect the token of an approved request, once",
        request=None,
        responses={201: CollectedTokenSerializer, 409: ErrorSerializer},
    )
    @sensitive_variables("secret")
    def post(self, request: APIRequest, request_id: str) -> HttpResponse:
        asked = self.find_own()
        limits = asked.networks, asked.rate_limit
        require_own_limits(request, asked.user, limits, "the token of this request")
        require_recent_sign_in(request)
        token, secret = approvals.collect(asked, by=request.actor, via=CreatedVia.API)
        response = Response({**managed_json(token), "token": secret}, 201)
        response["Cache-Control"] = "no-store"
        return response


class DecisionView(OneRequestView):
    """Approves or refuses a request."""

    scopes: ClassVar = {"POST": "admin:users"}
    serializer_classes: ClassVar = {"POST": DecisionSerializer}

    @extend_schema(
        summary="Approve or refuse a request for a token",
        responses={200: TokenRequestSerializer, 409: ErrorSerializer},
    )
    def post(self, request: APIRequest, request_id: str, decision: str) -> HttpResponse:
        if decision not in DECISIONS:
            raise NotFound(f"A request has none of these: {', '.join(DECISIONS)}")
        note, asked = self.read_body().get("note", ""), self.find()
        approvals.decide(
            asked,
            is_approved=DECISIONS[decision],
            note=note,
            by=request.actor,
            access=request.access,
        )
        return Response(request_json(asked))


R = "tokens/requests/<name:request_id>"
urlpatterns = [
    path("tokens/requests", RequestsView.as_view()),
    path("users/<name:name>/token-requests", AskView.as_view()),
    path(R, RequestView.as_view()),
    path(f"{R}/collect", CollectView.as_view()),
    path(f"{R}/<name:decision>", DecisionView.as_view()),
]
