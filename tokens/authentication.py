"""Authentication by token: `Authorization: token <secret>`, or `Bearer`."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication

from tokens.verification import Bearer, verify

HEADER = re.compile(r"(?:token|bearer)\s+(\S+)", re.IGNORECASE)


def secret_in(header: str | None) -> str:
    """Return the token in an `Authorization` header; empty if there is none."""
    match = None if header is None else HEADER.fullmatch(header)
    return "" if match is None else match[1]


class TokenAuthentication(BaseAuthentication):
    """Identifies the owner of a request's token.

    A header of another form is ignored, and a refused token counts as no token, because
    the request may still have a cookie. So this raises no error, and there is no
    `WWW-Authenticate`, which would turn the response into a 401. Only a valid token
    from a wrong network raises `WrongNetwork`.
    """

    @sensitive_variables()
    def authenticate(self, request: HttpRequest | Any) -> tuple[Any, Bearer] | None:
        secret = secret_in(request.META.get("HTTP_AUTHORIZATION"))
        address = request.META.get("REMOTE_ADDR", "")
        bearer = verify(secret, address) if secret else None
        if bearer is None:
            return None
        return SimpleLazyObject(lambda: bearer.owner), bearer
