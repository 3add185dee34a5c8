"""The input and output of OAuth2's addresses in `oauth/`.

They are a page, and endpoints with forms and with their own format of errors.
"""

from __future__ import annotations

from typing import Any

from api.openapi.types import Schema, query, table
from scopes.grammar import LARGEST_WITH_SCOPES
from web.bodies import SMALL

TEXT: Schema = {"type": "string"}
NAMES: Schema = {"type": "array", "items": TEXT}
NUMBER: Schema = {"type": "integer"}
FORM = "application/x-www-form-urlencoded"


def _parameter(name: str, description: str, **schema: Any) -> Schema:
    needed = name in ("client_id", "response_type")
    return {**query(name, description, **schema), "required": needed}


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
        _parameter("client_id", "Which client asks."),
        _parameter("response_type", "What it asks for.", enum=["code"]),
        _parameter("redirect_uri", "Where to send the code; exactly as registered."),
        _parameter("scope", "Raw scopes, separated by blanks; all it may, if unsaid."),
        _parameter("state", "Sent back as it is."),
        _parameter("code_challenge", "PKCE's challenge."),
        _parameter("code_challenge_method", "How it is made.", enum=["S256", "plain"]),
    ],
}
REFUSALS = {
    "400": "A request that is not understood, or not granted; `error` says which.",
    "401": "The client did not prove itself.",
    "413": "The form is larger than 64,000 bytes.",
    "429": "Too many requests; try again later.",
    "503": "What is needed for it does not answer; try again later.",
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
    "400": {"description": "The client is not known.", "content": PAGE_OF_HTML},
    "403": {"description": "Not for this person.", "content": PAGE_OF_HTML},
}
LED_ON: Schema = {"302": {"description": "To sign-in, or back to the client."}}
table.beside |= {
    "/oauth2/authorize": {
        "get": {
            **AUTHORIZE,
            "operationId": "get_oauth2_authorize",
            "summary": "Ask whether a client may act for whoever is signed in",
            "responses": {
                "200": {
                    "description": "The page that asks.",
                    "content": PAGE_OF_HTML,
                },
                **LED_ON,
                **REFUSED_PAGES,
            },
        },
        "post": {
            **AUTHORIZE,
            "operationId": "post_oauth2_authorize",
            "summary": "Agree, as the page's form does",
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
            "responses": {**LED_ON, **REFUSED_PAGES},
        },
    },
    "/oauth2/token": _form(
        "token",
        "Trade a code for an access token",
        {
            **CLIENT,
            "grant_type": {"type": "string", "enum": ["authorization_code"]},
            "code": TEXT,
            "redirect_uri": TEXT,
            "code_verifier": TEXT,
        },
        {
            "type": "object",
            "required": ["access_token", "expires_in", "token_type", "scope"],
            "properties": {
                "access_token": TEXT,
                "expires_in": NUMBER,
                "token_type": TEXT,
                "scope": TEXT,
            },
        },
        required=("client_id", "client_secret", "grant_type", "code"),
        refusals=("400", "401"),
    ),
    "/oauth2/introspect": _form(
        "introspect",
        "Whether a token is active, whose it is, and what it may do",
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
