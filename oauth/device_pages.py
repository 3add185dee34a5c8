"""The pages on which a person decides about the request of a device (RFC 8628, 3.3)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from accounts.attempts import Attempt, TooMany
from accounts.mixins import SignedInMixin
from accounts.proof import proof_page
from oauth import device_actions
from oauth.forms import CodeForm, DecisionForm
from oauth.models import DeviceRequest
from scopes.refusals import NotFound, Refusal
from tokens.models import APIToken
from tokens.operations import changes_others

UNKNOWN: Final = (
    "No program waits with this code. Codes are valid for ten minutes and for one"
    " decision; ask the program for a new one."
)
NO_RIGHT: Final = "You may not request tokens of your own, so you can't give one away."


class DevicePage(SignedInMixin, View):
    """A page for the signed-in user about one request."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.HUB.device_sign_in:
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def find(self, form: CodeForm) -> DeviceRequest | None:
        """Return the request with the code in a form; an error is in the form.

        Wrong codes are counted as wrong passwords are, for the user and the network.
        """
        if not form.is_valid():
            return None
        attempt = Attempt(self.request, f"device code by {self.person.pk}")
        try:
            attempt.begin()
        except TooMany as problem:
            form.add_error("user_code", str(problem))
            self.status = 429
            return None
        self.code: str = form.cleaned_data["user_code"]
        found = device_actions.find_undecided(self.code, timezone.now())
        if found is None:
            attempt.fail()
            form.add_error("user_code", UNKNOWN)
            return None
        attempt.withdraw()
        return found

    status = 400

    def may_give(self) -> bool:
        """Return whether the user may issue tokens for themselves."""
        return self.person.access.allows("tokens", obj=self.person)

    def proof_page(self, scopes: list[str]) -> str | None:
        """Return where the user authenticates again before giving a powerful token."""
        access = APIToken(user=self.person, scopes=scopes).access
        if not changes_others(access, self.person.name):
            return None
        here = f"{reverse('devices:device')}?{urlencode({'user_code': self.code})}"
        return proof_page(self.request, next_page=here)

    def show_code_form(self, form: CodeForm, status: int = 200) -> HttpResponse:
        return render(self.request, "oauth/device.html", {"form": form}, status=status)

    def show_request(
        self, found: DeviceRequest, form: DecisionForm, status: int = 200
    ) -> HttpResponse:
        context = {
            "asked": found,
            "form": form,
            "code": self.code,
            "may_give": self.may_give(),
            "no_right": NO_RIGHT,
            "is_elsewhere": found.address != self.request.META.get("REMOTE_ADDR", ""),
        }
        return render(self.request, "oauth/device_decide.html", context, status=status)


@method_decorator(never_cache, name="dispatch")
class DeviceView(DevicePage):
    """Asks for the code, and shows the request with this code."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if "user_code" not in request.GET:
            return self.show_code_form(CodeForm())
        form = CodeForm(request.GET)
        found = self.find(form)
        if found is None:
            return self.show_code_form(form, self.status)
        decision = DecisionForm(
            request=found,
            user=self.person,
            now=timezone.now(),
        )
        return self.show_request(found, decision)


@method_decorator(never_cache, name="dispatch")
class DecideView(DevicePage):
    """Approves or denies a request."""

    def get(self, request: HttpRequest) -> HttpResponse:
        # A GET request, from the address bar for instance, shows the form.
        return redirect("devices:device")

    def post(self, request: HttpRequest) -> HttpResponse:
        code = CodeForm(request.POST)
        found = self.find(code)
        if found is None:
            return self.show_code_form(code, self.status)
        try:
            if "deny" in request.POST:
                device_actions.deny(found, by=self.actor)
                messages.success(request, "Denied. The program gets no token.")
                return redirect("devices:device")
            return self.approve(found)
        except NotFound as refusal:
            # Somebody else, or another tab, has decided meanwhile.
            code.add_error("user_code", refusal.for_people)
            return self.show_code_form(code, 400)

    def approve(self, found: DeviceRequest) -> HttpResponse:
        form: Any = DecisionForm(
            self.request.POST, request=found, user=self.person, now=timezone.now()
        )
        if not self.may_give():
            form.add_error(None, NO_RIGHT)
        if not form.is_valid():
            return self.show_request(found, form, 400)
        if page := self.proof_page(form.cleaned_data["token_scopes"]):
            messages.info(
                self.request,
                "This token could change more than your own account. Confirm that it"
                " is you, then decide.",
            )
            return redirect(page)
        try:
            device_actions.approve(
                found,
                self.person,
                scopes=form.cleaned_data["token_scopes"],
                lifetime=form.cleaned_data["lifetime"],
                by=self.actor,
            )
        except NotFound:
            raise
        except Refusal as refusal:
            form.add_error(None, refusal.for_people)
            return self.show_request(found, form, 400)
        messages.success(
            self.request,
            f"Approved. {found.program} continues within a few seconds; you can close"
            " this page.",
        )
        return redirect("devices:device")
