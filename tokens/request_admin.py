"""The queue of requests for tokens that an administrator decides, in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.utils.safestring import SafeString

from accounts.admin.filters import named
from accounts.models import User
from audit.models import Actor
from tokens import approvals
from tokens.models import TokenRequest
from tokens.policy import in_words
from web.admin_base import DASH, CaseFilter, ScopedAdmin, moment, page_of

State = TokenRequest.State


class StateFilter(CaseFilter):
    """Requests by state."""

    title = "state"
    parameter_name = "state"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {value: (words, Q(state=value)) for value, words in State.choices}


class DecisionForm(forms.ModelForm):
    """The decision about a request, with a note for the person who asked."""

    decision = forms.ChoiceField(
        choices=[("approve", "Approve"), ("refuse", "Refuse")],
        widget=forms.RadioSelect,
    )
    decision_note = forms.CharField(
        label="Note",
        required=False,
        max_length=approvals.MAX_TEXT,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 40}),
        help_text="Sent to the person who asked.",
    )

    class Meta:
        model = TokenRequest
        fields = ("decision_note",)


@admin.register(TokenRequest)
class TokenRequestAdmin(ScopedAdmin):
    """Requests are decided here, and neither made nor deleted."""

    kind = "request"
    form = DecisionForm
    search_help_text = "Part of the name of the person who asks"
    list_display = ("name", "requester", "what", "reason", "state", "asked")
    exported = ("name", "requester", "what", "reason", "state", "created", "decided_by")
    list_filter = (StateFilter,)
    list_select_related = ("user", "token")
    ordering = ("-id",)
    sortable_by = ("asked",)
    shown = (
        *("requester", "about", "note", "reason", "what", "life", "asked"),
        *("state", "decided", "decided_by"),
    )

    def search(self, term: str) -> Q:
        users = User.objects.filter(named(term)).order_by().values("pk")
        return Q(user__in=users)

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        is_open = obj is None or obj.state == State.PENDING
        return is_open and super().has_change_permission(request, obj)

    def get_readonly_fields(self, request: Any, obj: Any = None) -> tuple[str, ...]:
        return self.shown

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        may_decide = self.has_change_permission(request, obj)
        decision = ["decision", "decision_note"] if may_decide else ["decision_note"]
        shown = [name for name in self.shown if self.says_something(name, obj)]
        return [(None, {"fields": [*shown, *decision]})]

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
        return ", ".join(row.scopes or ()) or "not changed"

    @admin.display(description="Life")
    def life(self, row: TokenRequest) -> str:
        return DASH if row.expires_in is None else in_words(row.expires_in)

    @admin.display(description="Asked", ordering="created")
    def asked(self, row: TokenRequest) -> SafeString | str:
        return moment(row.created)

    @admin.display(description="Decided")
    def decided(self, row: TokenRequest) -> SafeString | str:
        return moment(row.decided_at)
