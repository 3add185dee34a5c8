"""The description of OAuth2's addresses in `oauth/`.

They are a page, and endpoints with forms and with their own format of errors
(RFC 6749). They are not views of Django REST framework, so nothing is derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oauth.metadata import DEVICE_CODE, TOKEN_EXCHANGE
from scopes.grammar import LARGEST_WITH_SCOPES
from web.bodies import SMALL

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NAMES: Schema = {"type": "array", "items": TEXT}
NUMBER: Schema = {"type": "integer"}
FORM = "application/x-www-form-urlencoded"


def _parameter(name: str, description: str, **schema: Any) -> Schema:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "required": name in ("client_id", "response_type"),
        "schema": {**TEXT, **schema},
    }


PAGE_OF_HTML: Schema = {"text/html": {"schema": TEXT}}
OAUTH_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": TEXT, "error_description": TEXT},
}
AUTHORIZE: Schema = {
    "tags": ["oauth2"],
    "security": [{"session": []}],
    "parameters": [
        _parameter("client_id", "The id of the client."),
        _parameter("response_type", "The kind of response.", enum=["code"]),
        _parameter("redirect_uri", "The address for the code; exactly as registered."),
        _parameter(
            "scope", "Raw scopes, separated by blanks; by default all allowed scopes."
        ),
        _parameter("state", "Returned unchanged."),
        _parameter("code_challenge", "The challenge of PKCE."),
        _parameter("code_challenge_method", "Its method.", enum=["S256", "plain"]),
    ],
}
REFUSALS = {
    "400": "The request is invalid or refused; `error` has the reason.",
    "401": "The client's secret is missing or wrong.",
    "413": "The form is too large.",
    "429": "Too many requests; try again later.",
    "503": "The hub can't process the request now; try again later.",
}
CLIENT: dict[str, Schema] = {"client_id": TEXT, "client_secret": TEXT}


def _form(
    name: str,
    summary: str,
    fields: dict[str, Schema],
    answer: Schema,
    *,
    required: tuple[str, ...],
    refusals: tuple[str, ...] = ("400", "401", "413"),
    security: tuple[dict[str, Any], ...] = ({},),
) -> dict[str, Schema]:
    """Describe an endpoint that reads a form and answers in JSON."""
    return {
        "post": {
            "tags": ["oauth2"],
            "security": list(security),
            "operationId": f"post_oauth2_{name}",
            "summary": summary,
            "requestBody": {
                "description": f"A form of at most {SMALL:,} bytes.",
                "required": True,
                "content": {
                    FORM: {
                        "schema": {
                            "type": "object",
                            "required": list(required),
                            "properties": fields,
                        }
                    }
                },
            },
            "responses": {
                "200": {
                    "description": "Done.",
                    "content": {"application/json": {"schema": answer}},
                },
                **{
                    status: {
                        "description": REFUSALS[status],
                        "content": {"application/json": {"schema": OAUTH_ERROR}},
                    }
                    for status in refusals
                },
            },
        }
    }


REFUSED_PAGES = {
    "400": {"description": "The client is unknown.", "content": PAGE_OF_HTML},
    "403": {"description": "The user may not use it.", "content": PAGE_OF_HTML},
}
REDIRECT: Schema = {"302": {"description": "Redirects to sign-in, or to the client."}}
# Operations by address and method.
OAUTH2: dict[str, dict[str, Schema]] = {
    "/oauth2/authorize": {
        "get": {
            **AUTHORIZE,
            "operationId": "get_oauth2_authorize",
            "summary": "Ask the user to authorize a client",
            "responses": {
                "200": {
                    "description": "The page with the question.",
                    "content": PAGE_OF_HTML,
                },
                **REDIRECT,
                **REFUSED_PAGES,
            },
        },
        "post": {
            **AUTHORIZE,
            "operationId": "post_oauth2_authorize",
            "summary": "Authorize a client, as the form of the page does",
            "requestBody": {
                "description": f"A form of at most {LARGEST_WITH_SCOPES:,} bytes.",
                "content": {
                    FORM: {
                        "schema": {
                            "type": "object",
                            "properties": {"_xsrf": TEXT, "scopes": NAMES},
                        }
                    }
                },
            },
            "responses": {**REDIRECT, **REFUSED_PAGES},
        },
    },
    "/oauth2/token": _form(
        "token",
        "Exchange a code, of a browser or of a device, or a token for an access token",
        {
            **CLIENT,
            "grant_type": {
                "type": "string",
                "enum": ["authorization_code", DEVICE_CODE, TOKEN_EXCHANGE],
            },
            "code": TEXT,
            "redirect_uri": TEXT,
            "code_verifier": TEXT,
            "device_code": TEXT,
            "subject_token": TEXT,
            "subject_token_type": TEXT,
            "requested_token_type": TEXT,
            "scope": TEXT,
            "expires_in": NUMBER,
        },
        {
            "type": "object",
            "required": ["access_token", "token_type", "scope"],
            "properties": {
                "access_token": TEXT,
                "expires_in": NUMBER,
                "token_type": TEXT,
                "issued_token_type": TEXT,
                "scope": TEXT,
            },
        },
        required=("grant_type",),
        refusals=("400", "401", "503"),
    ),
    "/oauth2/device_authorization": _form(
        "device_authorization",
        "Ask for the codes with which a person lets a device in",
        {"client_id": TEXT, "scope": TEXT, "device_name": TEXT},
        {
            "type": "object",
            "required": [
                *("device_code", "user_code"),
                *("verification_uri", "verification_uri_complete"),
                *("expires_in", "interval"),
            ],
            "properties": {
                "device_code": TEXT,
                "user_code": TEXT,
                "verification_uri": TEXT,
                "verification_uri_complete": TEXT,
                "expires_in": NUMBER,
                "interval": NUMBER,
            },
        },
        required=("client_id",),
        refusals=("400", "401", "413", "429"),
    ),
    "/oauth2/introspect": _form(
        "introspect",
        "Return the owner and the scopes of a token, if it is active",
        {**CLIENT, "token": TEXT, "token_type_hint": TEXT},
        {
            "type": "object",
            "required": ["active"],
            "properties": {
                "active": {"type": "boolean"},
                "scope": TEXT,
                "client_id": TEXT,
                "username": TEXT,
                "kind": {"type": "string", "enum": ["user", "service"]},
                "token_type": TEXT,
                "exp": NUMBER,
                "iat": NUMBER,
                "sub": TEXT,
                "iss": TEXT,
                "jti": TEXT,
            },
        },
        required=("token",),
        security=({"token": []}, {"client": []}),
    ),
    "/oauth2/revoke": _form(
        "revoke",
        "Revoke a token that the caller holds",
        {**CLIENT, "token": TEXT, "token_type_hint": TEXT},
        {"type": "object"},
        required=("token",),
    ),
}
