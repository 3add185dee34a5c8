"""The actions of the Token page on requests that need an approval."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views import View
from django.views.decorators.debug import sensitive_variables

from accounts.proof import proof_page
from scopes.refusals import Refusal
from tokens import approvals
from tokens.models import TokenRequest
from tokens.new_token import show_once
from tokens.views import OwnTokensMixin


class RequestView(OwnTokensMixin, View):
    """Withdraws a request of the signed-in user, or collects the approved token."""

    scope = "tokens"

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return redirect("tokens:list")

    def post(self, request: HttpRequest, pk: int, act: str) -> HttpResponse:
        if not self.may_change():
            raise PermissionDenied("You may not request tokens of your own.")
        own = TokenRequest.objects.select_related("user", "token")
        asked = get_object_or_404(own, user=self.user, pk=pk)
        try:
            if act == "collect":
                return self.collect(asked)
            approvals.withdraw(asked, by=self.actor)
        except Refusal as refusal:
            messages.error(request, refusal.for_people)
        else:
            messages.success(request, "Withdrew the request.")
        return redirect("tokens:list")

    @sensitive_variables("secret")
    def collect(self, asked: TokenRequest) -> HttpResponse:
        page = proof_page(self.request, next_page=reverse("tokens:list"))
        if page is not None:
            messages.info(self.request, "Confirm that this is you, then try again.")
            return HttpResponseRedirect(page)
        token, secret = approvals.collect(asked, by=self.actor)
        return show_once(self.request, token, secret)
