"""The nonce of a page, which is rendered after the policy if the page has to wait."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class NonceMiddleware:
    """Puts the nonce into the policy of every response, and keeps it for the page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.page_nonce = str(request.csp_nonce)  # type: ignore[attr-defined]
        return self.get_response(request)
