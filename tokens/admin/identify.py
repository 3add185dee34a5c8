"""The page that finds a token by its whole text, or by the SHA-256 of that."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from tokens import format
from tokens.identification import identify
from web.admin_base import ScopedAdmin
from web.redaction import SECRET


class IdentifyForm(forms.Form):
    """A token or its SHA-256; the field is never filled again."""

    secret = forms.CharField(
        label="Token or SHA-256",
        max_length=format.MAX_LENGTH,
        help_text="The whole token, or the 64 hexadecimal digits of its SHA-256. The"
        " hub neither stores nor shows what you paste.",
        widget=forms.PasswordInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "size": 60}
        ),
    )


class IdentifyingAdmin(ScopedAdmin):
    """Finds a token that somebody has at hand; the text is sent in a POST only."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.identify_view)
        return [
            path("identify/", view, name="tokens_apitoken_identify"),
            *super().get_urls(),
        ]

    @method_decorator(sensitive_post_parameters("secret"))
    @sensitive_variables()
    def identify_view(self, request: Any) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = IdentifyForm(request.POST or None)
        found, is_unknown = None, False
        if form.is_valid():
            found = identify(
                form.cleaned_data["secret"],
                self.get_queryset(request).select_related("user", "service"),
            )
            is_unknown = found is None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Identify a token",
            "form": form,
            "found": found,
            "state": found and self.state(found.token),
            "is_unknown": is_unknown,
        }
        response = TemplateResponse(
            request, "admin/tokens/apitoken/identify.html", context
        )
        response["Cache-Control"] = "no-store"
        return response

    def state(self, token: Any) -> Any:
        raise NotImplementedError

    def changelist_view(self, request: Any, extra_context: Any = None) -> HttpResponse:
        if SECRET.search(request.GET.get("q", "")):
            # An address is kept in histories and logs, so the search leads elsewhere.
            self.message_user(
                request,
                "What you searched for looks like a whole token, and the address of a"
                " search is kept in the browser's history. Paste tokens here.",
                messages.WARNING,
            )
            return HttpResponseRedirect(reverse("admin:tokens_apitoken_identify"))
        return super().changelist_view(request, extra_context)
