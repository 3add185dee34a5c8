"""Reports of leaked tokens, which need no credentials; not an address of JupyterHub.

Two formats are accepted, so that existing clients and scanners can be pointed here:
that of GitHub's `POST /credentials/revoke`, an object with a list of strings, and that
of the partner programme of GitHub's secret scanning, a list of objects with the places
where the tokens were found. The whole token is verified, so neither needs a signature.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers
from rest_framework.response import Response

from api.base import APIRequest, HubAPIView
from api.bodies import BodySerializer
from api.openapi.decorators import extend_schema
from api.permissions import AllowAny
from api.serializers import ErrorSerializer, MessageSerializer
from scopes.refusals import Invalid
from tokens.leaks import MOST, Finding, receive
from web.bodies import accepts_bodies

# Enough for the most tokens, each with the address of a place.
LARGEST = 512 * 1024

SHAPE = '{"credentials": ["hub_…", …]}, or [{"token": "hub_…", "url": "https://…"}, …]'
ACCEPTED = (
    "Accepted. Those of these strings that are valid tokens of this hub are being"
    " revoked, and their owners are told."
)


class LeakedTokensSerializer(BodySerializer):
    """The strings that are believed to be tokens, at most a thousand."""

    noun = "leak"
    largest = LARGEST
    is_closed = False

    credentials = serializers.ListField(
        child=serializers.CharField(), max_length=MOST, help_text="The whole tokens."
    )

    @sensitive_variables()
    def run_validation(self, data: Any = None) -> list[Finding]:  # type: ignore[override]
        """Return the strings in a body, or raise `Invalid` without repeating any."""
        if isinstance(data, dict):
            data = data.get("credentials")
            if not isinstance(data, list):
                raise Invalid(f"Send a list of tokens: {SHAPE}.")
            findings = [Finding(each) for each in data if isinstance(each, str)]
        elif isinstance(data, list):
            findings = [
                Finding(each["token"], _text(each.get("url")))
                for each in data
                if isinstance(each, dict) and isinstance(each.get("token"), str)
            ]
        else:
            raise Invalid(f"Send a list of tokens: {SHAPE}.")
        if len(data) > MOST:
            raise Invalid(
                f"{len(data):,} tokens are too many for one report: send at most"
                f" {MOST:,} at a time."
            )
        if not findings or len(findings) < len(data):
            raise Invalid(f"Send at least one token, each as a string: {SHAPE}.")
        return findings


class LeakedTokensView(HubAPIView):
    """Accepts reports of leaked tokens from everybody.

    The response is the same for all strings and all senders.
    """

    authentication_classes = ()
    scopes: ClassVar = {"POST": AllowAny}
    serializer_classes: ClassVar = {"POST": LeakedTokensSerializer}

    @extend_schema(
        summary="Revoke leaked tokens; no credential is needed",
        responses={
            202: MessageSerializer,
            429: ErrorSerializer,
            503: ErrorSerializer,
        },
    )
    @sensitive_variables()
    def post(self, request: APIRequest) -> HttpResponse:
        receive(self.read_body(), address=request.META.get("REMOTE_ADDR", ""))
        return Response({"message": ACCEPTED}, 202)

    def read_body(self) -> list[Finding]:
        findings: list[Finding] = LeakedTokensSerializer().run_validation(self.body)
        return findings


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


urlpatterns = [
    path("tokens/leaked", accepts_bodies(LeakedTokensView.as_view(), LARGEST)),
]
