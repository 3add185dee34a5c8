"""Rows of the admin that wait for a decision, which somebody approves or refuses.

The model has a `State` with `PENDING`, and the columns `state`, `created`, `decided_at`
and `decision_note`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model, Q
from django.utils.safestring import SafeString

from web.admin_base import CaseFilter, ScopedAdmin, moment

MAX_NOTE = 1_023


class StateFilter(CaseFilter):
    """Rows by state."""

    title = "state"
    parameter_name = "state"

    def __init__(self, request: Any, params: Any, model: Any, model_admin: Any) -> None:
        self.states: list[tuple[str, str]] = model.State.choices
        super().__init__(request, params, model, model_admin)

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {value: (words, Q(state=value)) for value, words in self.states}


class DecisionForm(forms.ModelForm):
    """The decision about a row, with a note for the person who asked."""

    note_help: ClassVar[str] = ""

    decision = forms.ChoiceField(
        choices=[("approve", "Approve"), ("refuse", "Refuse")],
        widget=forms.RadioSelect,
    )
    decision_note = forms.CharField(
        label="Note",
        required=False,
        max_length=MAX_NOTE,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 40}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["decision_note"].help_text = self.note_help


class DecidedAdmin(ScopedAdmin):
    """Rows are decided here, and neither made nor deleted."""

    list_filter = (StateFilter,)
    ordering = ("-id",)
    sortable_by = ("asked",)
    # The columns and fields on the page of a row, above the decision.
    shown: tuple[str, ...] = ()

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        model: Any = self.model
        is_open = obj is None or obj.state == model.State.PENDING
        return is_open and super().has_change_permission(request, obj)

    def get_readonly_fields(
        self, request: Any, obj: Model | None = None
    ) -> tuple[str, ...]:
        return self.shown

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        may_decide = self.has_change_permission(request, obj)
        decision = ["decision", "decision_note"] if may_decide else ["decision_note"]
        shown = [name for name in self.shown if self.says_something(name, obj)]
        return [(None, {"fields": [*shown, *decision]})]

    @admin.display(description="Asked", ordering="created")
    def asked(self, row: Any) -> SafeString | str:
        return moment(row.created)

    @admin.display(description="Decided")
    def decided(self, row: Any) -> SafeString | str:
        return moment(row.decided_at)
