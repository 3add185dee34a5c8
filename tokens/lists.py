"""Searching, filtering and sorting of a person's tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.db.models import F, Q

from tokens.format import ALPHABET
from tokens.models import SOON, APITokenQuerySet
from tokens.states import STATES, in_state

CHOICES = {
    "": "all",
    "active": "active",
    "expiring": "expiring within a week",
    "stopped": "stopped",
    "disabled": "disabled",
    "frozen": "frozen",
    "unused": "never used",
    "unending": "without expiry",
}

SORTS = {
    "": "last used",
    "created": "newest",
    "expires": "next to expire",
    "note": "note",
}


class TokenFilterForm(forms.Form):
    """The query of the list; a value that makes no sense counts as none."""

    q = forms.CharField(required=False, max_length=255)
    state = forms.ChoiceField(required=False, choices=list(CHOICES.items()))
    sort = forms.ChoiceField(required=False, choices=list(SORTS.items()))

    def chosen(self, name: str) -> str:
        self.is_valid()
        return cast(str, self.cleaned_data.get(name, ""))

    @property
    def is_filtered(self) -> bool:
        return bool(self.chosen("q") or self.chosen("state"))

    @property
    def query_string(self) -> str:
        """The query without a page, with an ampersand at its end."""
        values = {name: self.chosen(name) for name in self.fields}
        given = urlencode({name: value for name, value in values.items() if value})
        return f"{given}&" if given else ""

    def apply(self, tokens: APITokenQuerySet, now: datetime) -> APITokenQuerySet:
        """Return the tokens that match, in order."""
        if text := self.chosen("q"):
            tokens = tokens.filter(_mentions(text))
        tokens = tokens.filter(_matching(self.chosen("state"), now))
        orders: dict[str, tuple[Any, ...]] = {
            "created": ("-created", "-pk"),
            "expires": (F("expires_at").asc(nulls_last=True), "pk"),
            "note": ("note", "pk"),
        }
        order = orders.get(self.chosen("sort"))
        return tokens.recent_first() if order is None else tokens.order_by(*order)


def _mentions(text: str) -> Q:
    """Return the condition of a search in notes, scopes, ids and visible starts."""
    condition = Q(note__icontains=text) | Q(scopes__icontains=text)
    # A visible start such as `hub_AL0M0Ygr6tTl_…` is found by its public id.
    for part in text.split("_"):
        if len(part) >= 4 and not set(part) - set(ALPHABET):
            condition |= Q(public_id__contains=part)
    number = text.removeprefix("a")
    if number.isdecimal() and len(number) < 18:
        condition |= Q(pk=int(number))
    return condition


def _matching(choice: str, now: datetime) -> Q:
    if choice in STATES:
        return in_state(choice, now)
    return {
        "expiring": Q(expires_at__lte=now + SOON),
        "unused": Q(last_activity=None),
        "unending": Q(expires_at=None),
    }.get(choice, Q())
