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


class TokenAuthentication(BaseAuthentication):
    """Identifies the owner of a request's token.

    A header of another form is ignored, and a refused token counts as no token, because
    the request may still have a cookie. So this raises no error, and there is no
    `WWW-Authenticate`, which would turn the response into a 401.
    """

    @sensitive_variables()
    def authenticate(self, request: HttpRequest | Any) -> tuple[Any, Bearer] | None:
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        match = HEADER.fullmatch(header)
        if match is None:
            return None
        bearer = verify(match[1])
        if bearer is None:
            return None
        return SimpleLazyObject(lambda: bearer.owner), bearer
