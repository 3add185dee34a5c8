"""People who want an account, in the admin: an operator lets them in, or not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpResponse

from accounts import sign_up_actions
from accounts.models import SignUp
from audit.models import Actor
from database.search import contains
from scopes.refusals import Invalid, Refusal
from web.admin_base import DASH, ask_first, count_of
from web.admin_decisions import DecidedAdmin, DecisionForm

State = SignUp.State
# Reasons that a message about many rows repeats.
SHOWN = 5
# Each is a transaction of some twenty statements.
MOST_AT_ONCE = 500


class SignUpForm(DecisionForm):
    """The decision about a sign-up, with a note for a person who is refused."""

    note_help = "Shown to a person who is refused."

    class Meta:
        model = SignUp
        fields = ("decision_note",)


@admin.register(SignUp)
class SignUpAdmin(DecidedAdmin):
    """Sign-ups are decided here, and neither made nor deleted."""

    kind = "sign_up"
    form = SignUpForm
    search_help_text = "Any part of a name or a mail address"
    list_display = ("person", "address", "state", "hint", "asked")
    exported = ("name", "email", "state", "created", "decided_by")
    actions = ("approve", "refuse")
    shown = (
        *("person", "address", "hint", "asked", "network", "terms"),
        *("state", "decided", "decided_by"),
    )

    def search(self, term: str) -> Q:
        return contains(SignUp, term, "name", "email", indexed=False)

    def mark_shown(self, request: Any, rows: Collection[SignUp]) -> None:
        super().mark_shown(request, rows)
        oddities = sign_up_actions.oddities_of(rows)
        for row in rows:
            row.hint = oddities[row.pk]  # type: ignore[attr-defined]

    def has_module_permission(self, request: Any) -> bool:
        is_used = settings.HUB.signup != "off" or self.was_used(request)
        return is_used and super().has_module_permission(request)

    def was_used(self, request: Any) -> bool:
        """Return whether there are sign-ups of an earlier time, to show their tab.

        The lists of other rows, which need many queries already, do without it.
        """
        page = getattr(request.resolver_match, "url_name", None) or ""
        if page.endswith("_changelist") and not page.startswith("accounts_signup"):
            return False
        return SignUp.objects.exists()

    def save_model(self, request: Any, obj: SignUp, form: Any, change: bool) -> None:
        row = SignUp.objects.get(pk=obj.pk)
        if form.cleaned_data["decision"] == "approve":
            self.let_in(request, row)
        else:
            note = form.cleaned_data["decision_note"]
            sign_up_actions.refuse(row, note=note, by=Actor.of_request(request))

    def let_in(self, request: Any, row: SignUp) -> None:
        by, by_admin = Actor.of_request(request), request.user.admin
        sign_up_actions.approve(row, by=by, by_admin=by_admin)

    # Many at once

    def decide(
        self, request: Any, queryset: QuerySet[SignUp], verb: str, warning: str
    ) -> HttpResponse | None:
        """Ask, then decide one after the other; those that are refused stay."""
        acts: dict[str, Callable[[SignUp], object]] = {
            "Approve": lambda row: self.let_in(request, row),
            "Refuse": lambda row: sign_up_actions.refuse(
                row, by=Actor.of_request(request)
            ),
        }

        def act(rows: QuerySet[SignUp]) -> str:
            number = rows.order_by().count()
            if number > MOST_AT_ONCE:
                raise Invalid(
                    f"These are {count_of(number, 'sign-up')}; {MOST_AT_ONCE:,} can be "
                    "decided at once. Search or filter, and decide in parts"
                )
            done, problems = 0, []
            for row in rows.order_by("pk"):
                try:
                    acts[verb](row)
                except Refusal as problem:
                    problems.append(f"{row.name}: {problem.for_people}")
                else:
                    done += 1
            said = f"{verb}d {count_of(done, 'sign-up')}."
            if problems:
                more = f" And {len(problems) - SHOWN} more." * (len(problems) > SHOWN)
                raise Invalid(f"{said} {'. '.join(problems[:SHOWN])}.{more}")
            return said

        waiting = queryset.filter(state=State.PENDING)
        return ask_first(
            self,
            request,
            self.reachable(request, "change", waiting),
            title=f"{verb} sign-ups",
            verb=verb,
            warning=warning,
            act=act,
        )

    @admin.action(description="Approve the selected sign-ups", permissions=["change"])
    def approve(self, request: Any, queryset: QuerySet[SignUp]) -> HttpResponse | None:
        return self.decide(
            request,
            queryset,
            "Approve",
            "Each person gets an account with the chosen name and password. Make sure "
            "that you know who has asked: anybody can enter any name.",
        )

    @admin.action(description="Refuse the selected sign-ups", permissions=["change"])
    def refuse(self, request: Any, queryset: QuerySet[SignUp]) -> HttpResponse | None:
        return self.decide(
            request, queryset, "Refuse", "The people see this when they sign in."
        )

    # Columns and fields

    @admin.display(description="Name")
    def person(self, row: SignUp) -> str:
        return row.name

    @admin.display(description="Mail address")
    def address(self, row: SignUp) -> str:
        return f"{row.email}{' (confirmed)' * row.is_confirmed}" or DASH

    @admin.display(description="Note")
    def hint(self, row: Any) -> str:
        return row.hint or DASH

    @admin.display(description="Asked from")
    def network(self, row: SignUp) -> str:
        return row.created_address or DASH

    @admin.display(description="Terms")
    def terms(self, row: SignUp) -> str:
        return "accepted" if row.terms_accepted else DASH
