"""Forms that store only the fields that were edited.

A form sends every field, edited or not. So the page has the original values in hidden
fields (Django's `show_hidden_initial`), and the sent values are compared with them. A
field that was not edited keeps its current value, a list is changed by its differences,
and a field that somebody else changed meanwhile is refused with both versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.http import QueryDict

from scopes.refusals import Conflict, Invalid


@dataclass(frozen=True, slots=True)
class Difference:
    """The entries that were added to a list and removed from it in a form."""

    added: list[str]
    removed: list[str]


class ChangedMeanwhile(Conflict):
    """A field was changed in a form and, since the form was opened, elsewhere as well.

    `present` has the current values of such fields in the format of hidden fields. The
    form is shown again with them, so that saving once more is a decision.
    """

    def __init__(self, message: str, present: dict[str, Any]) -> None:
        super().__init__(message)
        self.present = present


class ChangesForm(forms.ModelForm):
    """A form of a row that compares sent values with the values that it showed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            for field in self.fields.values():
                field.show_hidden_initial = True

    def validate_unique(self) -> None:
        """Do nothing, because the action checks changed names."""

    def changes(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new values of fields that were changed in the form.

        `row` has the current values of the fields, read under a lock. For a list the
        `Difference` is returned. Raises `ChangedMeanwhile`.
        """
        changes: dict[str, Any] = {}
        messages, clashing = [], {}
        for name in self.fields.keys() & row.keys():
            present, given = row[name], self.cleaned_data[name]
            shown = self._shown(name, present)
            if _same(given, shown):
                continue
            if isinstance(given, list):
                before, after = set(shown), set(given)
                changes[name] = Difference(
                    added=[each for each in given if each not in before],
                    removed=[each for each in shown if each not in after],
                )
            elif not (_same(present, shown) or _same(present, given)):
                field = self[name]
                clashing[field.html_initial_name] = field.field.prepare_value(present)
                messages.append(
                    f"{field.label} was changed meanwhile: it was {_said(shown)} when "
                    f"this page was opened and is {_said(present)} now; you wrote "
                    f"{_said(given)}."
                )
            elif not _same(present, given):
                changes[name] = given
        if messages:
            messages.sort()
            messages.append("Nothing was saved. Save again to use your value.")
            raise ChangedMeanwhile(" ".join(messages), clashing)
        return changes

    def _shown(self, name: str, present: Any) -> Any:
        """Return the value that a field showed; without a page, the current value."""
        field = self[name]
        sent = self.data.get(field.html_initial_name)
        if sent is None:
            return present
        try:
            return field.field.to_python(sent)
        except forms.ValidationError:
            raise Invalid(
                f"This page no longer says what {field.label} was. Open it again."
            ) from None


class KeepsUnedited(forms.BaseForm):
    """A mixin for forms of single values, which keep the values of unedited fields.

    A list counts as one value. `present` returns the value that the row has now. A page
    sends the values that it showed in hidden fields; a request without them, as from a
    program, edits all fields.
    """

    def show_values(self) -> None:
        """Have the page send the values that it shows; call after the fields exist."""
        for field in self.fields.values():
            field.show_hidden_initial = True

    def present(self, name: str) -> Any:
        """Return the value of the row for a field, in the form of `cleaned_data`."""
        raise NotImplementedError

    def clean(self) -> Any:
        data = super().clean() or self.cleaned_data
        edited = set(self.changed_data)
        for name in [name for name in self.fields if name in data]:
            bound = self[name]
            shown = self.data.get(bound.html_initial_name)
            if shown is None or not bound.field.show_hidden_initial:
                continue
            present = self._shown_text(name)
            if name not in edited:
                data[name] = self.present(name)
            elif _lines(shown) != present and not _same_cleaned(
                data[name], self.present(name)
            ):
                # The page is shown again with the present value as the one it showed,
                # so that saving once more is a decision.
                sent = cast(QueryDict, self.data).copy()
                sent[bound.html_initial_name] = present
                self.data = sent
                self.add_error(
                    name,
                    f"{bound.label} was changed meanwhile: it was "
                    f"{_said(_lines(shown))} when this page was opened and is "
                    f"{_said(present)} now. Save again to use your value.",
                )
        return data

    def _shown_text(self, name: str) -> str:
        """Return the text that the hidden field of a new page would have."""
        bound = self[name]
        value = bound.field.prepare_value(bound.initial)
        return _lines(str(bound.field.hidden_widget().format_value(value) or ""))


def _lines(text: str) -> str:
    """Return a text with the ends of lines as they were before a browser sent it."""
    return text.replace("\r\n", "\n")


def _same_cleaned(one: Any, other: Any) -> bool:
    return (one or None) == (other or None)


def _same(one: Any, other: Any) -> bool:
    """Compare values as JSON, because in Python true equals 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _said(value: Any) -> str:
    """Return a value as text within a sentence."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "":
        return "empty"
    if isinstance(value, str):
        return f"“{value}”"
    return json.dumps(value, ensure_ascii=False)
