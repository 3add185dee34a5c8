"""The forms of the pages about tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from secrets import token_urlsafe
from typing import Any, cast

from django import forms
from django.conf import settings
from django.utils.formats import date_format
from django.utils.timesince import timeuntil

from accounts.models import User
from scopes.definitions import METASCOPES, SCOPES
from scopes.grammar import KINDS, RawScope
from scopes.refusals import Refusal
from tokens import presets
from tokens.actions.values import MAX_NOTE_LENGTH, check_token_scopes
from tokens.scope_picker import offer

DEFAULT_NOTE = "Requested via token page"
DEFAULT_EXPIRES_IN = 30 * 86_400

LIFETIMES = (
    ("1 hour", 3_600),
    ("1 day", 86_400),
    ("1 week", 7 * 86_400),
    ("1 month", 30 * 86_400),
    ("90 days", 90 * 86_400),
    ("1 year", 365 * 86_400),
)
NEVER = "never"
MAXIMUM = "max"
ON_DATE = "date"

# Units of lifetimes in links to the form.
UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
LIFETIME = re.compile(r"(\d{1,10})([smhdw]?)")
DATE = re.compile(r"\d{4}-\d\d-\d\d")


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
    if not maximum or maximum > 86_400:
        choices.append((ON_DATE, "On another date"))
    return choices


def _moment(now: datetime, seconds: int) -> str:
    moment = now + timedelta(seconds=seconds)
    spelling = "j M Y" if seconds >= 7 * 86_400 else "j M, H:i"
    return date_format(moment, spelling)


class ExpiryFields(forms.Form):
    """The choice of a lifetime, or of the last day; both make `lifetime`.

    `lifetime` is in seconds; None means the configured maximum, if there is one.
    """

    expires_in = forms.ChoiceField(label="Token expires in")
    expires_on = forms.DateField(
        required=False,
        label="Last day",
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def __init__(self, *args: Any, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = now
        expires_in = cast(forms.ChoiceField, self.fields["expires_in"])
        expires_in.choices = choices = lifetimes(now)
        default = str(DEFAULT_EXPIRES_IN)
        longest = [value for value, _ in choices if value != ON_DATE][-1]
        expires_in.initial = default if default in dict(choices) else longest

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["lifetime"] = self._lifetime(data)
        return data

    def _lifetime(self, data: Mapping[str, Any]) -> int | None:
        chosen = data.get("expires_in")
        if chosen in (None, NEVER, MAXIMUM):
            return None
        if chosen != ON_DATE:
            return int(chosen)
        day = data.get("expires_on")
        if day is None:
            if "expires_on" not in self.errors:
                self.add_error("expires_on", "Choose a date.")
            return None
        # The token can be used until the end of the day.
        end = datetime.combine(day, time.max, tzinfo=UTC)
        if end <= self.now:
            self.add_error("expires_on", "This day has passed.")
            return None
        maximum = settings.HUB.token_expires_in_max_seconds
        seconds = int((end - self.now).total_seconds())
        if maximum and seconds > maximum:
            latest = date_format(
                self.now + timedelta(seconds=maximum - 86_400), "j M Y"
            )
            self.add_error(
                "expires_on", f"Tokens of this hub end by {latest} at the latest."
            )
        return seconds


class TokenForm(ExpiryFields):
    """The fields of a new token.

    Either the scopes of a preset, or those that were selected and written; a form with
    both is refused, because one of the two is a mistake.
    """

    # Detects that the same form is sent again.
    form_id = forms.CharField(
        required=False,
        max_length=64,
        widget=forms.HiddenInput,
        initial=partial(token_urlsafe, 12),
    )
    note = forms.CharField(required=False, max_length=MAX_NOTE_LENGTH)
    permissions = forms.ChoiceField(
        initial=presets.EVERYTHING, widget=forms.RadioSelect
    )
    group = forms.CharField(required=False, max_length=255)
    scopes = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple
    )
    more_scopes = forms.CharField(required=False, max_length=4_000)

    def __init__(self, *args: Any, user: User, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, now=now, **kwargs)
        self.user = user
        self.offered = offer(user)
        permissions = cast(forms.ChoiceField, self.fields["permissions"])
        permissions.choices = [
            (name, presets.LABELS[name]) for name in presets.presets_of(user)
        ]
        scopes = cast(forms.MultipleChoiceField, self.fields["scopes"])
        scopes.choices = [
            (choice.scope, choice.words)
            for _, group in self.offered
            for choice in group
        ]

    def scope_groups(self) -> Iterator[tuple[str, list[dict[str, Any]], bool]]:
        """Yield the offered scopes by group, with the selected ones."""
        picked = set(self["scopes"].value() or ())
        for label, choices in self.offered:
            boxes = [
                {"choice": choice, "picked": choice.scope in picked}
                for choice in choices
            ]
            yield label, boxes, any(box["picked"] for box in boxes)

    def scope_names(self) -> list[tuple[str, str]]:
        """Return the scopes that take a filter, for the selection by name."""
        held = {RawScope.parse(scope).name for scope in self.user.access.scopes}
        return [
            (name, scope.description)
            for name, scope in SCOPES.items()
            if name in held and name not in METASCOPES
        ]

    def managed_groups(self) -> list[str]:
        return presets.managed_groups(self.user)

    def clean_more_scopes(self) -> list[str]:
        return words_of(self.cleaned_data["more_scopes"])

    def clean(self) -> dict[str, Any]:
        """Set `token_scopes`, the raw scopes of the token; None inherits."""
        data = super().clean()
        chosen = [*data.get("scopes", ()), *data.get("more_scopes", ())]
        preset = data.get("permissions", "")
        data["token_scopes"] = None
        if preset != presets.CHOSEN and chosen:
            self.add_error(
                "permissions",
                "You also picked single permissions. Choose “Only the permissions"
                " chosen below”, or pick none.",
            )
        elif preset == presets.GROUP and not data.get("group"):
            self.add_error("group", "Name the group.")
        elif preset == presets.CHOSEN and not chosen and not self.errors:
            self.add_error("scopes", "Pick at least one permission.")
        elif not self.errors and preset != presets.EVERYTHING:
            wanted = chosen or presets.scopes_of(
                preset, self.user, data.get("group", "")
            )
            try:
                data["token_scopes"] = check_token_scopes(self.user, wanted)
            except Refusal as refusal:
                field = "group" if preset == presets.GROUP else "more_scopes"
                self.add_error(field, refusal.for_people)
        return data


def words_of(text: str) -> list[str]:
    """Return the parts of a text that blanks or commas separate."""
    return re.findall(r"[^\s,]+", text)


def initial_of(query: Mapping[str, str], user: User, now: datetime) -> dict[str, Any]:
    """Return the initial values of a `TokenForm` from the query of a link.

    A link to the form has `note`, `scopes` separated by blanks or commas, and
    `expires`: a number of seconds, a number with one of the units s, m, h, d and w, a
    date as in 2030-12-31, or `never`. Values that make no sense are left out, because
    the person sees the form and decides.
    """
    initial: dict[str, Any] = {}
    if note := query.get("note", "").replace("\0", "")[:MAX_NOTE_LENGTH]:
        initial["note"] = note
    wanted = words_of(query.get("scopes", "")[:4_000])
    if wanted:
        offered = {choice.scope for _, group in offer(user) for choice in group}
        named = [presets.relative(scope, user) for scope in wanted]
        initial["permissions"] = presets.CHOSEN
        initial["scopes"] = [scope for scope in named if scope in offered]
        further = [scope for scope in named if scope not in offered]
        initial["more_scopes"] = " ".join(further)
    return initial | _initial_expiry(query.get("expires", ""), now)


def _initial_expiry(text: str, now: datetime) -> dict[str, Any]:
    offered = dict(lifetimes(now))
    if text in offered:
        return {"expires_in": text}
    if DATE.fullmatch(text):
        return {"expires_in": ON_DATE, "expires_on": text}
    found = LIFETIME.fullmatch(text)
    if not found:
        return {}
    seconds = int(found[1]) * UNITS[found[2]]
    if str(seconds) in offered:
        return {"expires_in": str(seconds)}
    if not 0 < seconds < 100 * 365 * 86_400:
        return {}
    # The form has days only: the first whose end is not before the asked moment.
    day = (now + timedelta(seconds=seconds)).date()
    return {"expires_in": ON_DATE, "expires_on": day.isoformat()}


class FilteredScopeForm(forms.Form):
    """A scope with a filter: for one user, group, server or service."""

    filtered_name = forms.CharField(max_length=255)
    filtered_kind = forms.ChoiceField(choices=[(kind, kind) for kind in sorted(KINDS)])
    filtered_value = forms.CharField(max_length=511)

    def clean_filtered_value(self) -> str:
        value: str = self.cleaned_data["filtered_value"].strip()
        if re.search(r"[\s,]", value):
            raise forms.ValidationError("Names in filters have no blanks or commas.")
        return value

    @property
    def scope(self) -> str:
        """The scope as text; for a valid form."""
        data = self.cleaned_data
        return str(
            RawScope(
                data["filtered_name"], data["filtered_kind"], data["filtered_value"]
            )
        )
