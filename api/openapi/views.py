"""The address of the API's description.

The modules for it are imported at the first request, because their import takes 5 % of
the time of a start, and most processes never need them.
"""

from __future__ import annotations

from typing import ClassVar

import orjson
from django.http import HttpResponse
from django.urls import path

from api.base import APIRequest, HubAPIView
from api.permissions import AllowAny
from tokens.authentication import TokenAuthentication


class DescriptionView(HubAPIView):
    """The OpenAPI description, for authors of clients."""

    authentication_classes = (TokenAuthentication,)
    scopes: ClassVar = {"GET": AllowAny}

    def get(self, request: APIRequest, form: str) -> HttpResponse:
        from api.openapi.schema import description

        if form == "yaml":
            import yaml

            text = yaml.safe_dump(description(), sort_keys=False, allow_unicode=True)
            return HttpResponse(text, content_type="application/yaml")
        return HttpResponse(
            orjson.dumps(description()), content_type="application/json"
        )


urlpatterns = [
    path("openapi.json", DescriptionView.as_view(), {"form": "json"}, "openapi"),
    path("openapi.yaml", DescriptionView.as_view(), {"form": "yaml"}, "openapi-yaml"),
]
