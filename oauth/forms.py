"""The forms with which a person decides about a device's request."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

from django import forms

from accounts.models import User
from accounts.rights import members_among
from oauth.device_actions import letters_of
from oauth.models import DeviceRequest
from scopes.access import Identity, expand
from scopes.grammar import describe
from scopes.refusals import Refusal
from tokens import presets
from tokens.actions.values import check_token_scopes
from tokens.forms import ExpiryFields

# The first one is selected.
PRESETS: Final = (presets.READ, presets.SERVERS, presets.EVERYTHING)


class CodeForm(forms.Form):
    """The code that the person's program shows."""

    user_code = forms.CharField(
        label="Code",
        max_length=40,
        help_text="Eight letters, such as BCDF-GHJK, in upper or lower case.",
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "characters",
                "spellcheck": "false",
            }
        ),
    )

    def clean_user_code(self) -> str:
        """Return the code as the program shows it."""
        letters = letters_of(self.cleaned_data["user_code"])
        return f"{letters[:4]}-{letters[4:]}"


class DecisionForm(ExpiryFields):
    """The scopes and the lifetime of the token.

    A program that names scopes gets some of these. Otherwise the person chooses one of
    the presets.
    """

    preset = forms.ChoiceField(widget=forms.RadioSelect)
    scopes = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(
        self,
        *args: Any,
        request: DeviceRequest,
        user: User,
        now: datetime,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, now=now, **kwargs)
        self.user = user
        self.offered, self.beyond = offer(request, user)
        scopes = cast(forms.MultipleChoiceField, self.fields["scopes"])
        scopes.choices = self.offered
        scopes.initial = [scope for scope, _ in self.offered]
        preset = cast(forms.ChoiceField, self.fields["preset"])
        found = [each for each in PRESETS if presets.scopes_of(each, user)]
        preset.choices = [(each, presets.LABELS[each]) for each in found]
        preset.initial = found[0]
        del self.fields["preset" if request.asked else "scopes"]

    def clean(self) -> dict[str, Any]:
        """Set `token_scopes` to the raw scopes of the token."""
        data = super().clean()
        if self.errors:
            return data
        if "preset" in self.fields:
            chosen = presets.scopes_of(data["preset"], self.user)
        elif not (chosen := data["scopes"]):
            self.add_error("scopes", "Pick at least one permission, or press Deny.")
            return data
        try:
            data["token_scopes"] = check_token_scopes(self.user, chosen)
        except Refusal as refusal:
            self.add_error(None, refusal.for_people)
        return data


def offer(
    request: DeviceRequest, user: User
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the scopes that a user can give, with words, and words of the others."""
    offered, beyond = [], []
    identity = Identity("user", user.name)
    for scope in request.asked:
        words = describe(scope, to_owner=True)
        if user.access.covers(expand([scope], identity), members_among):
            offered.append((scope, words))
        else:
            beyond.append(words)
    return offered, beyond
