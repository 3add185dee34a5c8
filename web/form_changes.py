"""Forms that change what was changed in them, and leave alone what they just showed.

A form sends back every field, whether or not somebody touched it. So the page carries
what it showed in hidden fields (Django's `show_hidden_initial`), and what comes back is
compared with that: a field that is as it was shown is left as it is by now, a list is
changed by its differences, and a field that somebody else changed meanwhile is refused
with both versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms

from scopes.refusals import Conflict, Invalid


@dataclass(frozen=True, slots=True)
class Difference:
    """What a list that was shown gained and lost in a form."""

    added: list[str]
    removed: list[str]


class ChangedMeanwhile(Conflict):
    """A field was changed in a form and, since that was opened, elsewhere as well.

    `present` is what such fields hold now, as their hidden fields spell it: the form
    comes again with that, so that saving once more is a decision.
    """

    def __init__(self, message: str, present: dict[str, Any]) -> None:
        super().__init__(message)
        self.present = present


class ChangesForm(forms.ModelForm):
    """A form of a row that knows what it showed of that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            for field in self.fields.values():
                field.show_hidden_initial = True

    def validate_unique(self) -> None:
        """Leave it to the action, which looks at names that were changed alone."""

    def changes(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new values of fields that were changed in the form.

        `row` is what the fields hold now, read under a lock. Of a list the
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
        """Read what a field showed. Without a page, that is what it holds now."""
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


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON: Python takes true and 1 for the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _said(value: Any) -> str:
    """Spell a value within a sentence."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "":
        return "empty"
    if isinstance(value, str):
        return f"“{value}”"
    return json.dumps(value, ensure_ascii=False)
