"""The pages on which users list, select and revoke their tokens."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
)
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views import View
from django.views.generic import DetailView, ListView

from accounts.mixins import ScopeRequiredMixin
from accounts.models import User
from scopes.refusals import Refusal
from tokens import activity, approvals, clients, notices
from tokens.actions.pausing import disable_tokens, enable_tokens
from tokens.actions.revocation import remove_tokens, revoke_token
from tokens.authorized_apps import applications
from tokens.leaks import unseen_by
from tokens.lists import TokenFilterForm
from tokens.models import APIToken, APITokenQuerySet

# Most ended tokens, shown below the others.
ENDED_SHOWN = 200
# Most tokens that one form selects.
MOST_SELECTED = 500


class OwnTokensMixin(ScopeRequiredMixin):
    """A page about the signed-in user's tokens."""

    scope: ClassVar[str]

    @property
    def user(self) -> User:
        return cast(User, self.request.user)

    def get_queryset(self) -> APITokenQuerySet:
        return self.reached().active(timezone.now())

    def reached(self) -> APITokenQuerySet:
        """Return these tokens with those that have ended."""
        queryset = APIToken.objects.owned_by(self.user)
        reached = self.user.access.limit(self.scope, queryset=queryset)
        return cast(APITokenQuerySet, reached)

    def may_change(self) -> bool:
        return self.user.access.allows("tokens", obj=self.user)


class TokenListView(OwnTokensMixin, ListView):
    """The user's valid tokens, searched, filtered and sorted by the query."""

    scope = "read:tokens"
    template_name = "tokens/list.html"
    context_object_name = "tokens"
    paginate_by = 50

    def get_queryset(self) -> APITokenQuerySet:
        activity.flush(usage=True)
        self.filter_form = TokenFilterForm(self.request.GET)
        requested = super().get_queryset().filter(client_id="")
        requested = requested.select_related("exchange__parent")
        return self.filter_form.apply(requested, timezone.now())

    def paginate_queryset(self, queryset: Any, page_size: int) -> Any:
        """Return a page; one beyond the last is the last.

        Tokens end while a page is open, and then there may be fewer pages.
        """
        paginator = self.get_paginator(queryset, page_size)
        page = paginator.get_page(self.request.GET.get("page"))
        return paginator, page, page.object_list, page.has_other_pages()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kwargs["leaks"] = list(unseen_by(self.user))
        kwargs["requests"] = approvals.shown_to(self.user, timezone.now())
        kwargs |= notices.shown_to(self.user)
        kwargs["applications"] = applications(super().get_queryset())
        ended = self.reached().recently_ended(timezone.now())
        kwargs["ended"] = list(ended[:ENDED_SHOWN])
        kwargs["ended_count"] = ended.count() if kwargs["ended"] else 0
        kwargs |= {
            "may_change": self.may_change(),
            "filter_form": self.filter_form,
            "is_filtered": self.filter_form.is_filtered,
            "query_string": self.filter_form.query_string,
        }
        return super().get_context_data(here="token", **kwargs)


class SelectedView(OwnTokensMixin, View):
    """Revokes, disables or enables the tokens that were selected in the list.

    A revocation can't be undone, so a page asks first.
    """

    scope = "tokens"

    def get(self, request: HttpRequest) -> HttpResponse:
        return redirect("tokens:list")

    def post(self, request: HttpRequest) -> HttpResponse:
        if not self.may_change():
            raise PermissionDenied("You may not change tokens of your own.")
        texts = request.POST.getlist("token")
        ids = [int(text) for text in texts if text.isdecimal() and len(text) < 19]
        selected = self.get_queryset().filter(client_id="", pk__in=ids[:MOST_SELECTED])
        action = request.POST.get("action", "")
        number = selected.count()
        if not number:
            messages.warning(request, "No token was selected.")
            return redirect(self.list_address())
        if action == "revoke" and "confirmed" not in request.POST:
            context = {
                "tokens": selected.recent_first(),
                "here": "token",
                "list_address": self.list_address(),
                "list_query": request.POST.get("list", ""),
            }
            return render(request, "tokens/revoke_selected.html", context)
        return self.act(action, selected)

    def list_address(self) -> str:
        """Return the address of the list with the search and page of the form."""
        query = QueryDict(self.request.POST.get("list", ""))
        given = TokenFilterForm(query).query_string
        page = query.get("page", "")
        if page.isdecimal() and page != "1":
            given += f"page={page}"
        address = reverse("tokens:list")
        return f"{address}?{given.rstrip('&')}" if given else address

    def act(self, action: str, selected: APITokenQuerySet) -> HttpResponseRedirect:
        """Change the selected tokens and say how many were changed."""
        acts = {
            "revoke": (remove_tokens, "Revoked"),
            "disable": (disable_tokens, "Disabled"),
            "enable": (enable_tokens, "Enabled"),
        }
        if action not in acts:
            messages.warning(self.request, "Choose what to do with the tokens.")
            return redirect(self.list_address())
        function, done = acts[action]
        try:
            changed = function(selected, by=self.actor)
        except Refusal as refusal:
            messages.error(self.request, refusal.for_people)
            return redirect(self.list_address())
        words = f"{changed} token{'' if changed == 1 else 's'}"
        messages.success(self.request, f"{done} {words}.")
        return redirect(self.list_address())


class RevokeView(OwnTokensMixin, DetailView):
    """Confirms and does the revocation of a token."""

    scope = "tokens"
    template_name = "tokens/revoke.html"
    context_object_name = "token"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().dispatch(request, *args, **kwargs)
        except Http404:
            # The browser's back button leads here after the revocation.
            if not self.reached().filter(pk=kwargs["pk"]).exists():
                raise
        messages.info(request, "This token has already been revoked or has expired.")
        return redirect("tokens:list")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        if client_id := self.object.client_id:
            # All tokens of the client are revoked together, so the page shows all.
            obtained = self.get_queryset().filter(client_id=client_id)
            kwargs["application"] = applications(obtained)[0]
        return super().get_context_data(**kwargs)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        token = self.get_object()
        revoke_token(token, by=self.actor)
        if token.client_id:
            words = clients.describe([token.client_id])[token.client_id].description
            messages.success(request, f"Revoked all access of “{words}”.")
        else:
            messages.success(request, f"Revoked the token “{token.note or token}”.")
        return redirect("tokens:list")
