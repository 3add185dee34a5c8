"""The queue of requests for tokens that an administrator decides, in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.utils.safestring import SafeString

from accounts.admin.filters import named
from accounts.models import User
from audit.models import Actor
from tokens import approvals
from tokens.models import TokenRequest
from tokens.policy import in_words
from web.admin_base import DASH, page_of
from web.admin_decisions import DecidedAdmin, DecisionForm


class TokenRequestForm(DecisionForm):
    """The decision about a request, with a note for the person who asked."""

    note_help = "Sent to the person who asked."

    class Meta:
        model = TokenRequest
        fields = ("decision_note",)


@admin.register(TokenRequest)
class TokenRequestAdmin(DecidedAdmin):
    """Requests are decided here, and neither made nor deleted."""

    kind = "request"
    form = TokenRequestForm
    search_help_text = "Part of the name of the person who asks"
    list_display = ("name", "requester", "what", "reason", "state", "asked")
    exported = ("name", "requester", "what", "reason", "state", "created", "decided_by")
    list_select_related = ("user", "token")
    shown = (
        *("requester", "about", "note", "reason", "what", "life", "asked"),
        *("state", "decided", "decided_by"),
    )

    def search(self, term: str) -> Q:
        users = User.objects.filter(named(term)).order_by().values("pk")
        return Q(user__in=users)

    def save_model(
        self, request: Any, obj: TokenRequest, form: Any, change: bool
    ) -> None:
        approvals.decide(
            TokenRequest.objects.select_related("user", "token").get(pk=obj.pk),
            is_approved=form.cleaned_data["decision"] == "approve",
            note=form.cleaned_data["decision_note"],
            by=Actor.of_request(request),
        )

    # Columns and fields

    @admin.display(description="Request")
    def name(self, row: TokenRequest) -> str:
        return str(row)

    @admin.display(description="Asked by")
    def requester(self, row: TokenRequest) -> SafeString:
        return page_of("accounts_user", row.user_id, row.user.name)

    @admin.display(description="About")
    def about(self, row: TokenRequest) -> SafeString | str:
        if row.token is None:
            return "a new token"
        return page_of("tokens_apitoken", row.token.pk, row.token)

    @admin.display(description="Scopes")
    def what(self, row: TokenRequest) -> str:
        return row.scopes_named

    @admin.display(description="Life")
    def life(self, row: TokenRequest) -> str:
        return DASH if row.expires_in is None else in_words(row.expires_in)
