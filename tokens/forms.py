"""The form of the Request Token page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from secrets import token_urlsafe
from typing import Any, cast

from django import forms
from django.conf import settings
from django.utils.formats import date_format
from django.utils.timesince import timeuntil

from accounts.models import User
from scopes.refusals import Refusal
from tokens.actions import MAX_NOTE_LENGTH, check_token_scopes
from tokens.scope_picker import offer

DEFAULT_NOTE = "Requested via token page"
DEFAULT_EXPIRES_IN = 30 * 86_400

LIFETIMES = (
    ("1 hour", 3_600),
    ("1 day", 86_400),
    ("1 week", 7 * 86_400),
    ("1 month", 30 * 86_400),
    ("1 year", 365 * 86_400),
)
NEVER = "never"
MAXIMUM = "max"


def lifetimes(now: datetime) -> list[tuple[str, str]]:
    """Return the lifetimes to choose from, each with its date of expiry.

    A configured maximum removes the longer ones and, unless it is among them, is added
    as the last. The texts fit on a phone, where the selected one has one line.
    """
    maximum = settings.HUB.token_expires_in_max_seconds
    allowed = [
        (words, seconds)
        for words, seconds in LIFETIMES
        if not maximum or seconds <= maximum
    ]
    choices = [
        (str(seconds), f"{words} ({_moment(now, seconds)})")
        for words, seconds in allowed
    ]
    if not maximum:
        choices.append((NEVER, "Never, until revoked"))
    elif maximum not in (seconds for _, seconds in allowed):
        words = timeuntil(now + timedelta(seconds=maximum), now, depth=2)
        choices.append((MAXIMUM, f"Max: {words} ({_moment(now, maximum)})"))
    return choices


def _moment(now: datetime, seconds: int) -> str:
    moment = now + timedelta(seconds=seconds)
    spelling = "j M Y" if seconds >= 7 * 86_400 else "j M, H:i"
    return date_format(moment, spelling)


class TokenForm(forms.Form):
    """The fields of a new token.

    Either all rights of the owner, or the scopes that were selected and written; a form
    with both is refused, because one of the two is a mistake.
    """

    EVERYTHING = "everything"
    CHOSEN = "chosen"

    # Detects that the same form is sent again.
    form_id = forms.CharField(
        required=False,
        max_length=64,
        widget=forms.HiddenInput,
        initial=partial(token_urlsafe, 12),
    )
    note = forms.CharField(required=False, max_length=MAX_NOTE_LENGTH)
    expires_in = forms.ChoiceField()
    permissions = forms.ChoiceField(
        choices=[
            (EVERYTHING, "All my permissions, now and later"),
            (CHOSEN, "Only the permissions chosen below"),
        ],
        initial=EVERYTHING,
        widget=forms.RadioSelect,
    )
    scopes = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple
    )
    more_scopes = forms.CharField(required=False, max_length=4_000)

    def __init__(self, *args: Any, user: User, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.offered = offer(user)
        expires_in = cast(forms.ChoiceField, self.fields["expires_in"])
        expires_in.choices = choices = lifetimes(now)
        default = str(DEFAULT_EXPIRES_IN)
        expires_in.initial = default if default in dict(choices) else choices[-1][0]
        scopes = cast(forms.MultipleChoiceField, self.fields["scopes"])
        scopes.choices = [choice for _, group in self.offered for choice in group]

    def scope_groups(self) -> Iterator[tuple[str, list[dict[str, Any]], bool]]:
        """Yield the offered scopes by group, with the selected ones."""
        picked = set(self["scopes"].value() or ())
        for label, choices in self.offered:
            boxes = [
                {"scope": scope, "words": words, "picked": scope in picked}
                for scope, words in choices
            ]
            yield label, boxes, any(box["picked"] for box in boxes)

    def clean_note(self) -> str:
        return self.cleaned_data["note"] or DEFAULT_NOTE

    def clean_expires_in(self) -> int | None:
        """Return seconds; None means the configured maximum, if there is one."""
        chosen = self.cleaned_data["expires_in"]
        return None if chosen in (NEVER, MAXIMUM) else int(chosen)

    def clean_more_scopes(self) -> list[str]:
        return re.findall(r"[^\s,]+", self.cleaned_data["more_scopes"])

    def clean(self) -> dict[str, Any]:
        """Set `token_scopes` to the raw scopes of the token; None inherits."""
        data = super().clean() or {}
        chosen = [*data.get("scopes", ()), *data.get("more_scopes", ())]
        data["token_scopes"] = None
        if data.get("permissions") == self.EVERYTHING:
            if chosen:
                self.add_error(
                    "permissions",
                    "You also picked single permissions. Choose “Only the permissions"
                    " chosen below”, or pick none.",
                )
        elif not chosen and not self.errors:
            self.add_error("scopes", "Pick at least one permission.")
        elif not self.errors:
            try:
                data["token_scopes"] = check_token_scopes(self.user, chosen)
            except Refusal as refusal:
                self.add_error("more_scopes", refusal.for_people)
        return data
