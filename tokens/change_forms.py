"""The forms that change one token."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from django import forms
from django.utils import timezone

from accounts.models import User
from scopes.definitions import NO_SCOPE
from scopes.grammar import describe
from tokens.actions.values import MAX_NOTE_LENGTH
from tokens.forms import ExpiryFields, words_of
from tokens.least_privilege import scopes_within
from tokens.models import APIToken
from tokens.scope_picker import offer
from web.form_changes import KeepsUnedited

# Most networks of one token.
MOST_NETWORKS = 20
OVERLAPS = (
    ("0", "none: the earlier secret ends now"),
    ("3600", "1 hour"),
    ("86400", "1 day"),
    ("604800", "1 week"),
)


class ChangeForm(forms.Form):
    """The base of these forms."""

    def __init__(self, *args: Any, token: APIToken, user: User, **kwargs: Any) -> None:
        self.token, self.user = token, user
        super().__init__(*args, **kwargs)


class NoteForm(ChangeForm):
    """Another note."""

    note = forms.CharField(max_length=MAX_NOTE_LENGTH)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["note"].initial = self.token.note


class ExpiryForm(ExpiryFields, ChangeForm):
    """Another end of the token, counted from now."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, now=timezone.now(), **kwargs)


class NarrowForm(ChangeForm):
    """The scopes to keep, of those that the token has."""

    scopes = forms.MultipleChoiceField(
        label="Keep", widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts = scopes_within(self.token, self.user)
        field: Any = self.fields["scopes"]
        field.choices = [
            (text, f"{describe(text, to_owner=True)} ({text})") for text in texts
        ]
        field.initial = list(self.token.scopes)


class WidenForm(ChangeForm):
    """Scopes to add, of those that the owner has and the token lacks."""

    scopes = forms.MultipleChoiceField(
        label="Add", required=False, widget=forms.CheckboxSelectMultiple
    )
    more_scopes = forms.CharField(
        label="Further scopes",
        required=False,
        max_length=4_000,
        help_text="With filters, as in read:users!group=math; separated by blanks.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        held = set(scopes_within(self.token, self.user))
        field: Any = self.fields["scopes"]
        field.choices = [
            (choice.scope, f"{choice.words} ({choice.scope})")
            for _, choices in offer(self.user)
            for choice in choices
            if choice.scope not in held and choice.scope != NO_SCOPE
        ]

    def clean(self) -> dict[str, Any]:
        """Set `token_scopes`, all raw scopes that the token is to have."""
        data = super().clean() or {}
        chosen = [
            *data.get("scopes", ()),
            *words_of(data.get("more_scopes") or ""),
        ]
        if not chosen and not self.errors:
            raise forms.ValidationError("Choose at least one permission.")
        kept = [scope for scope in self.token.scopes if scope != NO_SCOPE]
        data["token_scopes"] = list(dict.fromkeys([*kept, *chosen]))
        return data


class LimitsForm(KeepsUnedited, ChangeForm):
    """The networks from which a token can be used, and the requests in a minute."""

    networks = forms.CharField(
        required=False,
        max_length=2_000,
        help_text="Addresses or networks such as 192.0.2.0/24, separated by blanks;"
        " empty for any.",
    )
    rate_limit = forms.IntegerField(
        label="Requests in a minute",
        required=False,
        min_value=1,
        max_value=1_000_000,
        help_text="Empty for no limit of the token's own.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["networks"].initial = " ".join(self.token.networks or ())
        self.fields["rate_limit"].initial = self.token.rate_limit
        self.show_values()

    def present(self, name: str) -> Any:
        return getattr(self.token, name)

    def clean_networks(self) -> list[str] | None:
        found = []
        for text in words_of(self.cleaned_data["networks"]):
            try:
                found.append(str(ip_network(text, strict=False)))
            except ValueError:
                raise forms.ValidationError(f"{text} is no network.") from None
        if len(found) > MOST_NETWORKS:
            raise forms.ValidationError(f"At most {MOST_NETWORKS} networks.")
        return found or None


class RotateForm(ChangeForm):
    """How long the earlier secret works, and what its later use does."""

    overlap = forms.TypedChoiceField(
        label="The earlier secret works for another",
        choices=OVERLAPS,
        coerce=int,
        initial="86400",
    )
    freezes = forms.BooleanField(
        required=False,
        label="Freeze the token if the earlier secret is used after that",
    )
