"""The addresses of the API's description.

The modules for it are imported at the first request, because most processes never need
them.
"""

from __future__ import annotations

from typing import ClassVar

import orjson
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.types import OpenApiTypes

from api.base import APIRequest, HubAPIView
from api.openapi.decorators import extend_schema
from api.permissions import AllowAny
from tokens.authentication import TokenAuthentication


class DescriptionView(HubAPIView):
    """The OpenAPI description, for authors of clients."""

    authentication_classes = (TokenAuthentication,)
    scopes: ClassVar = {"GET": AllowAny}

    @extend_schema(
        summary="Return this description", responses={200: OpenApiTypes.OBJECT}
    )
    def get(self, request: APIRequest) -> HttpResponse:
        from api.openapi.schema import description

        return HttpResponse(
            orjson.dumps(description()), content_type="application/json"
        )


class YAMLDescriptionView(DescriptionView):
    """The OpenAPI description as YAML."""

    @extend_schema(
        summary="Return this description as YAML",
        responses={(200, "application/yaml"): OpenApiTypes.STR},
    )
    def get(self, request: APIRequest) -> HttpResponse:
        import yaml

        from api.openapi.schema import description

        text = yaml.safe_dump(description(), sort_keys=False, allow_unicode=True)
        return HttpResponse(text, content_type="application/yaml")


urlpatterns = [
    path("openapi.json", DescriptionView.as_view(), name="openapi"),
    path("openapi.yaml", YAMLDescriptionView.as_view(), name="openapi-yaml"),
]
