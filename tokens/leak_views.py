"""Pages about leaked tokens: recognise a token, report one, confirm a notice."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import FormView

from accounts.mixins import SignedInMixin
from scopes.refusals import Busy
from tokens import format, keys
from tokens.leaks import LONGEST_SOURCE, Finding, confirm, receive, unseen_by

# Longer than any token, so that a longer text gets an explanation.
LONGEST = 1_000


class FoundTokenForm(forms.Form):
    """A string that may be a token, and the place where it was found."""

    found = forms.CharField(
        label="The string",
        max_length=LONGEST,
        widget=forms.TextInput(
            attrs={
                "class": "secret",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "data-token-found": "",
            }
        ),
    )
    source = forms.CharField(
        label="Where you found it",
        required=False,
        max_length=LONGEST_SOURCE,
        help_text="Only for a report: an address, or a few words. The owner will read"
        " this.",
    )


@method_decorator(sensitive_post_parameters(), name="dispatch")
class FoundTokenView(FormView):
    """Tells from format and checksum alone whether a string looks like a token.

    Nothing is stored, logged or read from the database, and a script does the same in
    the browser without a request. So the page reveals nothing about existing tokens.
    """

    template_name = "tokens/found.html"
    form_class = FoundTokenForm

    def form_valid(self, form: FoundTokenForm) -> HttpResponse:
        result = format.recognise(form.cleaned_data["found"], keys.prefix())
        return self.render_to_response(self.get_context_data(form=form, result=result))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(prefix=keys.prefix(), **kwargs)

    def render_to_response(self, context: Any, **options: Any) -> HttpResponse:
        response = super().render_to_response(context, **options)
        # The form has the string in it.
        add_never_cache_headers(response)
        return response

    def form_invalid(self, form: FoundTokenForm) -> HttpResponse:
        context = self.get_context_data(form=form)
        return self.render_to_response(context, status=HTTPStatus.BAD_REQUEST)


class ReportView(FoundTokenView):
    """Reports a string as a leaked token, as `POST /tokens/leaked` does."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return redirect("tokens:found")

    def form_valid(self, form: FoundTokenForm) -> HttpResponse:
        finding = Finding(form.cleaned_data["found"], form.cleaned_data["source"])
        try:
            receive([finding], address=self.request.META.get("REMOTE_ADDR", ""))
        except Busy as refusal:
            form.add_error(None, refusal.for_people)
            context = self.get_context_data(form=form)
            response = self.render_to_response(context, status=refusal.status)
            if refusal.retry_after is not None:
                response["Retry-After"] = str(refusal.retry_after)
            return response
        return redirect("tokens:reported")


class ReportedView(FoundTokenView):
    """Says what happens with a report; the same for every string."""

    template_name = "tokens/reported.html"
    http_method_names = ["get", "head", "options"]  # noqa: RUF012 - as Django's


class SeenView(SignedInMixin, View):
    """Removes the notice of a leak from its owner's page."""

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        leak = get_object_or_404(unseen_by(self.person), pk=pk)
        confirm(leak)
        messages.success(request, "The notice was removed.")
        return redirect("tokens:list")
