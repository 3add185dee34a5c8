"""The page on which users request a token, and the page that shows the token once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.views import View
from django.views.decorators.debug import sensitive_variables
from django.views.generic.edit import FormView

from accounts.proof import proof_page
from accounts.rights import members_among
from scopes.access import Access, Identity, token_access
from scopes.definitions import INHERIT
from scopes.refusals import Refusal
from tokens import approvals, presets
from tokens.actions.issuing import issue_token
from tokens.forms import (
    DEFAULT_NOTE,
    FilteredScopeForm,
    TokenForm,
    initial_of,
    words_of,
)
from tokens.models import APIToken, CreatedVia
from tokens.operations import callable_with, changes_others
from tokens.policy import NeedsApproval
from tokens.snippets import snippets
from tokens.suggestions import suggest
from tokens.views import OwnTokensMixin
from web.hosts import origin_of

# Ids of this session's forms for which a token was issued.
ANSWERED_FORMS = "tokens_answered_forms"
MOST_FORMS = 20


class NewTokenView(OwnTokensMixin, FormView):
    """The form of a new token; the response to it shows the secret, once.

    Besides issuing, the form has two steps without a script: to add a scope with a
    filter, and to show the operations that the token could call.
    """

    scope = "tokens"
    form_class = TokenForm
    template_name = "tokens/new.html"

    def check_access(self, request: HttpRequest) -> None:
        super().check_access(request)
        if not self.may_change():
            raise PermissionDenied("You may not request tokens of your own.")

    def get_initial(self) -> dict[str, Any]:
        return initial_of(self.request.GET, self.user, timezone.now())

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.user, "now": timezone.now()}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs.setdefault("filtered", FilteredScopeForm())
        return super().get_context_data(here="token", **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        step = request.POST.get("step", "")
        if step == "add":
            return self.add_scope()
        if step == "preview":
            return self.preview()
        return super().post(request, *args, **kwargs)

    # Steps

    def add_scope(self) -> HttpResponse:
        """Append a scope with a filter to the written ones, and show the form again."""
        filtered = FilteredScopeForm(self.request.POST)
        data = self.request.POST.copy()
        if filtered.is_valid():
            further = words_of(data.get("more_scopes", ""))
            data["more_scopes"] = " ".join([*further, filtered.scope])
            data["permissions"] = presets.CHOSEN
            filtered = FilteredScopeForm()
        form = TokenForm(user=self.user, now=timezone.now(), initial=_unbound(data))
        context = self.get_context_data(form=form, filtered=filtered)
        return self.render_to_response(context, status=400 if filtered.errors else 200)

    def preview(self) -> HttpResponse:
        """Show the operations that the token could call; issue nothing."""
        form = self.get_form()
        if not form.is_valid():
            return self.form_invalid(form)
        access = self.access_of(form.cleaned_data["token_scopes"])
        form = TokenForm(
            user=self.user, now=timezone.now(), initial=_unbound(self.request.POST)
        )
        return self.render_to_response(
            self.get_context_data(form=form, callable=callable_with(access))
        )

    def access_of(self, scopes: list[str] | None) -> Access:
        """Return the rights of a token of the user with these raw scopes."""
        groups = self.user.groups.values_list("name", flat=True)
        return token_access(
            scopes or [INHERIT],
            self.user.access,
            Identity("user", self.user.name, frozenset(groups)),
            None,
            members_among,
        )

    # Issuing

    @sensitive_variables("secret")
    def form_valid(self, form: TokenForm) -> HttpResponse:
        request, data = self.request, form.cleaned_data
        form_id = data["form_id"]
        answered = request.session.get(ANSWERED_FORMS, [])
        if form_id and form_id in answered:
            # The page with a secret was loaded again.
            messages.info(
                request,
                "This form has already issued its token, and a token is shown once. If"
                " you did not copy the token, open it here and rotate it to get another"
                " secret.",
            )
            return redirect("tokens:list")
        scopes = data["token_scopes"]
        if changes_others(self.access_of(scopes), self.user.name):
            page = proof_page(request, next_page=self.address_with(form))
            if page is not None:
                messages.info(
                    request,
                    "This token could change more than your own account. Confirm that"
                    " you request it.",
                )
                return HttpResponseRedirect(page)
        if request.POST.get("step") == "ask":
            return self.ask(form)
        try:
            token, secret = issue_token(
                self.user,
                by=self.actor,
                note=data["note"],
                usual_note=DEFAULT_NOTE,
                expires_in=data["lifetime"],
                scopes=scopes,
                via=CreatedVia.PAGE,
            )
        except Refusal as refusal:
            form.add_error(None, refusal.for_people)
            return self.form_invalid(
                form, needs_approval=isinstance(refusal, NeedsApproval)
            )
        if form_id:
            request.session[ANSWERED_FORMS] = [*answered, form_id][-MOST_FORMS:]
        return show_once(request, token, secret)

    def ask(self, form: TokenForm) -> HttpResponse:
        """Ask an administrator for the token, which is collected after that."""
        data = form.cleaned_data
        try:
            approvals.ask(
                self.user,
                by=self.actor,
                reason=self.request.POST.get("reason", ""),
                note=data["note"],
                expires_in=data["lifetime"],
                scopes=data["token_scopes"],
                via=CreatedVia.PAGE,
            )
        except Refusal as refusal:
            form.add_error(None, refusal.for_people)
            return self.form_invalid(form, needs_approval=True)
        messages.success(
            self.request,
            "Asked for the approval. You collect the token on this page after that.",
        )
        return redirect("tokens:list")

    def form_invalid(
        self, form: TokenForm, *, needs_approval: bool = False
    ) -> HttpResponse:
        """Show the page with the input and its errors."""
        asks = needs_approval or self.request.POST.get("step") == "ask"
        context = self.get_context_data(
            form=form,
            needs_approval=asks,
            reason=self.request.POST.get("reason", "")[: approvals.MAX_TEXT],
        )
        return self.render_to_response(context, status=400)

    def address_with(self, form: TokenForm) -> str:
        """Return the address of this page with the values of a form."""
        data = form.cleaned_data
        lifetime = data["lifetime"]
        query = {
            "note": data["note"],
            "scopes": " ".join(data["token_scopes"] or ()),
            "expires": data["expires_on"]
            or ("never" if lifetime is None else lifetime),
        }
        given = {key: value for key, value in query.items() if value}
        return f"{reverse('tokens:new')}?{urlencode(given)}"


class SuggestView(OwnTokensMixin, View):
    """Names for the filter of a scope, as JSON, for the script of the form."""

    scope = "tokens"

    def get(self, request: HttpRequest) -> HttpResponse:
        text = request.GET.get("q", "")[:255].replace("\0", "")
        names = suggest(request.GET.get("kind", ""), text, self.user)
        return JsonResponse({"names": names})


@sensitive_variables("secret", "context")
def show_once(
    request: HttpRequest, token: APIToken, secret: str, *, rotated: bool = False
) -> HttpResponse:
    """Show a secret, which no cache, session or message may contain."""
    origin = origin_of(request)
    context = {
        "token": token,
        "secret": secret,
        "rotated": rotated,
        "snippets": snippets(
            secret,
            api_url=f"{origin}{settings.HUB.base_url}hub/api",
            host=urlsplit(origin).netloc,
            user=token.owner.name,
        ),
    }
    response = render(request, "tokens/issued.html", context)
    add_never_cache_headers(response)
    return response


def _unbound(data: Any) -> dict[str, Any]:
    """Return the values of a sent form as initial values, without checking them."""
    names = ("form_id", "note", "expires_in", "expires_on", "permissions", "group")
    values = {name: data[name] for name in names if name in data}
    values["more_scopes"] = data.get("more_scopes", "")
    values["scopes"] = data.getlist("scopes")
    return values
