"""The page of one token: what it is and may do, its use, and the forms to change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django.views.generic import DetailView

from accounts.models import User
from accounts.proof import proof_page
from audit.models import Event
from scopes.definitions import INHERIT
from scopes.refusals import Refusal
from tokens import activity, approvals
from tokens.actions.changes import (
    change_scopes,
    extend_token,
    narrow_token,
    rename_token,
    set_limits,
)
from tokens.actions.pausing import disable_tokens, enable_tokens, unfreeze_tokens
from tokens.actions.rotation import rotate_token
from tokens.change_forms import (
    ChangeForm,
    ExpiryForm,
    LimitsForm,
    NarrowForm,
    NoteForm,
    RotateForm,
    WidenForm,
)
from tokens.least_privilege import access_without, granted_scopes, used_scopes
from tokens.models import APIToken, APITokenQuerySet, CreatedVia
from tokens.new_token import show_once
from tokens.operations import callable_with
from tokens.policy import AgainstPolicy, LivesTooLong, NeedsApproval
from tokens.usage_chart import usage_chart
from tokens.views import OwnTokensMixin

# Most events of a token's history.
EVENTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Change:
    """A form that changes the token, and the words for the form on the page."""

    form: type[forms.Form]
    title: str
    help: str
    button: str


CHANGES = {
    "note": Change(
        NoteForm, "Rename", "The note says what the token is for.", "Rename"
    ),
    "expiry": Change(
        ExpiryForm,
        "Change when the token expires",
        "The hub's policy limits how late that can be.",
        "Change",
    ),
    "narrow": Change(
        NarrowForm,
        "Narrow the permissions",
        "A permission that is removed can't be given back; that needs another token.",
        "Keep only the selected",
    ),
    "widen": Change(
        WidenForm,
        "Widen the permissions",
        "Only to what you may do yourself, and as the hub's policy allows.",
        "Add the selected",
    ),
    "limits": Change(
        LimitsForm,
        "Limit networks and rate",
        "Requests from elsewhere, and too many in a minute, are refused.",
        "Limit",
    ),
    "rotate": Change(
        RotateForm,
        "Rotate",
        "The token gets another secret, which is shown once. Its permissions, its note"
        " and its history stay.",
        "Rotate",
    ),
    "disable": Change(
        forms.Form,
        "Disable",
        "Programs that use the token are refused until it is enabled again.",
        "Disable",
    ),
    "enable": Change(
        forms.Form, "Enable", "Programs can use the token again.", "Enable"
    ),
    "unfreeze": Change(
        forms.Form,
        "Unfreeze",
        "An alarm froze this token. Unfreeze it only if you know what the use was;"
        " otherwise rotate the token first.",
        "Unfreeze",
    ),
}


class TokenView(OwnTokensMixin, DetailView):
    """Everything about one token of the signed-in user."""

    scope = "read:tokens"
    template_name = "tokens/token.html"
    context_object_name = "token"
    simulated_group = ""

    def get_queryset(self) -> APITokenQuerySet:
        activity.flush(usage=True)
        # An OAuth client has many tokens, which the list shows and ends together.
        return self.reached().filter(client_id="")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page as if the owner were not in a group."""
        self.simulated_group = request.POST.get("without", "").replace("\0", "")
        return self.get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        token, user = self.object, self.user
        granted = granted_scopes(token, user)
        kwargs.setdefault("changes", self.changes())
        days = dict(token.days.values_list("day", "count"))
        return super().get_context_data(
            here="token",
            may_change=self.may_change(),
            granted=granted,
            suggestion=used_scopes(token, user),
            callable=callable_with(access_without(token, self.simulated_group)),
            simulated_group=self.simulated_group,
            groups=list(user.groups.order_by("name").values_list("name", flat=True)),
            chart=usage_chart(days, timezone.now().date()),
            uses=token.uses.all()[:5],
            previous_secrets=token.previous_secrets.order_by("-ends_at")[:5],
            events=Event.objects.filter(target_kind="token", target_name=str(token))[
                :EVENTS_SHOWN
            ],
            **kwargs,
        )

    def changes(self, **given: forms.Form) -> list[tuple[str, Change, forms.Form]]:
        """Return the forms of the page; `given` replaces one that has errors."""
        token = self.object
        hidden = {"enable" if token.disabled_at is None else "disable"}
        if token.disabled_by not in ("", self.actor.label):
            hidden.add("enable")
        if token.frozen_at is None:
            hidden.add("unfreeze")
        if INHERIT in token.scopes:
            hidden.add("widen")
        return [
            (name, change, given.get(name) or form_of(name, token, self.user))
            for name, change in CHANGES.items()
            if name not in hidden
        ]


class ChangeView(TokenView):
    """Carries out one of the forms of a token's page."""

    scope = "tokens"

    # Whether the page offers to ask for an approval.
    asks = False

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return redirect("tokens:token", kwargs["pk"])

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        name = kwargs["change"]
        if name not in CHANGES:
            raise Http404("There is no such change.")
        self.object = self.get_object()
        if not self.may_change():
            raise PermissionDenied("You may not change tokens of your own.")
        form = form_of(name, self.object, self.user, request.POST)
        if not form.is_valid():
            return self.show_again(name, form)
        try:
            return getattr(self, f"change_{name}")(form)
        except AgainstPolicy as refusal:
            form.add_error(None, refusal.for_people)
            self.asks = isinstance(refusal, NeedsApproval) or (
                name == "expiry" and isinstance(refusal, LivesTooLong)
            )
            return self.show_again(name, form)
        except Refusal as refusal:
            form.add_error(None, refusal.for_people)
            return self.show_again(name, form)

    def show_again(self, name: str, form: forms.Form) -> HttpResponse:
        errors = [error for each in form.errors.values() for error in each]
        context = self.get_context_data(
            changes=self.changes(**{name: form}),
            form_errors=errors,
            asks_for=name if self.asks else "",
        )
        return self.render_to_response(context, status=400)

    def done(self, message: str) -> HttpResponseRedirect:
        messages.success(self.request, message)
        return redirect("tokens:token", self.object.pk)

    def proof_page(self) -> str | None:
        """Return the page that asks for a recent sign-in, and leads back here."""
        here = reverse("tokens:token", args=[self.object.pk])
        page = proof_page(self.request, next_page=here)
        if page is not None:
            messages.info(self.request, "Confirm that this is you, then try again.")
        return page

    # One method for each change

    def change_note(self, form: forms.Form) -> HttpResponse:
        rename_token(self.object, form.cleaned_data["note"], by=self.actor)
        return self.done("Renamed the token.")

    def change_expiry(self, form: forms.Form) -> HttpResponse:
        if self.request.POST.get("step") == "ask":
            self.asks = True
            approvals.ask(
                self.user,
                by=self.actor,
                token=self.object,
                expires_in=form.cleaned_data["lifetime"],
                reason=self.request.POST.get("reason", ""),
                via=CreatedVia.PAGE,
            )
            return self.done("Asked for the approval.")
        extend_token(self.object, form.cleaned_data["lifetime"], by=self.actor)
        return self.done("Changed when the token expires.")

    def change_narrow(self, form: forms.Form) -> HttpResponse:
        narrow_token(self.object, form.cleaned_data["scopes"], by=self.actor)
        return self.done("Narrowed the token.")

    def change_widen(self, form: forms.Form) -> HttpResponse:
        scopes = form.cleaned_data["token_scopes"]
        page = self.proof_page()
        if page is not None:
            return HttpResponseRedirect(page)
        if self.request.POST.get("step") == "ask":
            self.asks = True
            approvals.ask(
                self.user,
                by=self.actor,
                token=self.object,
                scopes=scopes,
                reason=self.request.POST.get("reason", ""),
                via=CreatedVia.PAGE,
            )
            return self.done("Asked for the approval.")
        change_scopes(self.object, scopes, by=self.actor)
        return self.done("Widened the token.")

    def change_limits(self, form: forms.Form) -> HttpResponse:
        data = form.cleaned_data
        set_limits(
            self.object,
            networks=data["networks"],
            rate_limit=data["rate_limit"],
            by=self.actor,
        )
        return self.done("Changed the limits of the token.")

    def change_disable(self, form: forms.Form) -> HttpResponse:
        disable_tokens(APIToken.objects.filter(pk=self.object.pk), by=self.actor)
        return self.done("Disabled the token.")

    def change_enable(self, form: forms.Form) -> HttpResponse:
        enable_tokens(APIToken.objects.filter(pk=self.object.pk), by=self.actor)
        return self.done("Enabled the token.")

    def change_unfreeze(self, form: forms.Form) -> HttpResponse:
        page = self.proof_page()
        if page is not None:
            return HttpResponseRedirect(page)
        unfreeze_tokens(APIToken.objects.filter(pk=self.object.pk), by=self.actor)
        return self.done("The token works again.")

    @sensitive_variables("secret")
    def change_rotate(self, form: forms.Form) -> HttpResponse:
        page = self.proof_page()
        if page is not None:
            return HttpResponseRedirect(page)
        data = form.cleaned_data
        token, secret = rotate_token(
            self.object,
            overlap=data["overlap"],
            freezes=data["freezes"],
            by=self.actor,
        )
        return show_once(self.request, token, secret, rotated=True)


def form_of(name: str, token: APIToken, user: User, data: Any = None) -> forms.Form:
    """Return one of the forms of a token's page, with the token's values."""
    form = CHANGES[name].form
    if not issubclass(form, ChangeForm):
        return form(data)
    return form(data, token=token, user=user, auto_id=f"{name}-%s")
