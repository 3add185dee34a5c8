"""Pages for notices about tokens: which mails are sent, and what was seen."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views import View
from django.views.generic import UpdateView

from accounts.mixins import SignedInMixin
from scopes.refusals import Invalid
from tokens.models import TokenNotice, TokenPreferences
from tokens.notices import (
    EARLIEST_REMINDER,
    MOST_REMINDERS,
    REMINDER_DAYS,
    check_days,
    confirm,
    sends_mails,
    unseen_by,
)
from web.form_changes import KeepsUnedited


class PreferencesForm(KeepsUnedited, forms.ModelForm):
    """Which mails the owner of tokens wants."""

    days = forms.CharField(
        label="Days before the expiry",
        required=False,
        max_length=40,
        help_text=f"Numbers from 1 to {EARLIEST_REMINDER}, as in 14, 3, 1; at most"
        f" {MOST_REMINDERS}.",
    )

    class Meta:
        model = TokenPreferences
        fields = ("mail_created", "mail_new_network", "mail_disabled", "mail_expiring")
        labels: ClassVar = {
            "mail_created": "was created",
            "mail_new_network": "was used from a new network",
            "mail_disabled": "was disabled",
            "mail_expiring": "expires soon",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.instance.reminder_days
        days = REMINDER_DAYS if chosen is None else chosen
        self.initial["days"] = ", ".join(map(str, days))
        self.show_values()

    def present(self, name: str) -> Any:
        return getattr(self.instance, "reminder_days" if name == "days" else name)

    def clean_days(self) -> list[int] | None:
        """Return the days, the most first; null if the default is to apply."""
        texts = self.cleaned_data["days"].replace(",", " ").split()
        if not texts:
            return None
        if not all(text.isascii() and text.isdigit() for text in texts):
            raise forms.ValidationError("Write numbers of days, as in 14, 3, 1.")
        try:
            return check_days([int(text) for text in texts])
        except Invalid as refusal:
            raise forms.ValidationError(refusal.for_people) from None

    def save(self, commit: bool = True) -> Any:
        self.instance.reminder_days = self.cleaned_data["days"]
        return super().save(commit)


class PreferencesView(SignedInMixin, UpdateView):
    """Shows and stores which mails the signed-in user wants."""

    template_name = "tokens/notices.html"
    form_class = PreferencesForm

    def get_object(self, queryset: Any = None) -> TokenPreferences:
        found = TokenPreferences.objects.filter(user=self.person).first()
        return found or TokenPreferences(user=self.person)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            here="token", sends_mails=sends_mails(), **kwargs
        )

    def form_valid(self, form: Any) -> HttpResponse:
        form.save()
        messages.success(self.request, "Stored which mails you get.")
        return redirect("tokens:notices")

    def form_invalid(self, form: Any) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)


class NoticesSeenView(SignedInMixin, View):
    """Removes all notices but alarms from their owner's page, up to the latest shown.

    Those that came after the page was loaded stay.
    """

    http_method_names = ["post", "options"]  # noqa: RUF012 - as Django's

    def post(self, request: HttpRequest) -> HttpResponse:
        latest = request.POST.get("latest", "")
        if latest.isdecimal() and len(latest) < 19:
            seen = unseen_by(self.person).filter(pk__lte=int(latest))
            confirm(seen.exclude(kind__in=TokenNotice.ALARMS))
            messages.success(request, "The notices were removed.")
        return redirect("tokens:list")


class NoticeSeenView(SignedInMixin, View):
    """Removes a notice from its owner's page."""

    http_method_names = ["post", "options"]  # noqa: RUF012 - as Django's

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        notice = get_object_or_404(unseen_by(self.person), pk=pk)
        confirm(unseen_by(self.person).filter(pk=notice.pk))
        messages.success(request, "The notice was removed.")
        return redirect("tokens:list")
