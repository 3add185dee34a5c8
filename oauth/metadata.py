"""The hub's description as an OAuth2 server, for clients that discover it (RFC 8414).

The issuer is the hub's address with its base URL. RFC 8414 inserts the well-known part
between the host and the path of the issuer. A proxy in front may forward only the base
URL to the hub, so the same document is below the base URL and below `hub/`, too.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from oauth.endpoint import answer
from scopes.definitions import SCOPES
from web.hosts import origin_of

WELL_KNOWN: Final = ".well-known/oauth-authorization-server"

# The ways in which clients authenticate.
BODY: Final = "client_secret_post"
BASIC: Final = "client_secret_basic"
NONE: Final = "none"

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"


def issuer_of(request: HttpRequest) -> str:
    """Return the hub's identifier: its address, without a slash at the end."""
    return f"{origin_of(request)}{settings.HUB.base_url}".rstrip("/")


def describe_server(request: HttpRequest) -> dict[str, Any]:
    """Return the metadata for the address at which a client asks."""
    hub = f"{issuer_of(request)}/hub"
    grants = ["authorization_code", TOKEN_EXCHANGE]
    described: dict[str, Any] = {}
    if settings.HUB.device_sign_in:
        grants.append(DEVICE_CODE)
        described["device_authorization_endpoint"] = (
            f"{hub}/api/oauth2/device_authorization"
        )
    return described | {
        "issuer": issuer_of(request),
        "authorization_endpoint": f"{hub}/api/oauth2/authorize",
        "token_endpoint": f"{hub}/api/oauth2/token",
        "token_endpoint_auth_methods_supported": [BODY, NONE],
        "revocation_endpoint": f"{hub}/api/oauth2/revoke",
        "revocation_endpoint_auth_methods_supported": [BASIC, BODY, NONE],
        "introspection_endpoint": f"{hub}/api/oauth2/introspect",
        # A token of the caller is a way of its own, which RFC 8414 names by its type.
        "introspection_endpoint_auth_methods_supported": [BASIC, BODY, "Bearer"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants,
        "code_challenge_methods_supported": ["plain", "S256"],
        "scopes_supported": sorted(SCOPES),
        "service_documentation": f"{hub}/api/docs/",
    }


@method_decorator(csrf_exempt, name="dispatch")
class MetadataView(View):
    """The description, for everybody."""

    http_method_names = ["get", "head", "options"]  # noqa: RUF012
    # Scripts of other pages may read it; it contains nothing of a person.
    answers_scripts = True

    def get(self, request: HttpRequest) -> HttpResponse:
        return answer(describe_server(request))
