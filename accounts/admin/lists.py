"""The form that adds a list of users at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.core.validators import validate_email

from accounts import naming
from web.admin_base import (
    NamesField,
)

# Limits of the form: lines, and wrong lines that are repeated.
LINES = 1_000
SHOWN = 20
# Limits of a file, and of a wrong line that is repeated, in bytes and characters.
BYTES = 256 * 1024
SHORT = 60


def spelt(names: list[str]) -> str:
    """Return a text with unknown names; of many names the first."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a pasted list: a name, perhaps an e-mail address, and its errors."""

    name: str
    email: str = ""
    exists: bool = False
    problem: str = ""


class ListForm(forms.Form):
    """A list of people, pasted or as a file, one on each line."""

    people = forms.CharField(
        required=False,
        label="People",
        widget=forms.Textarea({"rows": 10, "cols": 40, "spellcheck": "false"}),
        help_text="One name on each line, perhaps with an e-mail address after a "
        "comma, semicolon, tab or blank.",
    )
    file = forms.FileField(
        required=False, label="Or a file", help_text="Text or CSV, in UTF-8."
    )
    groups = NamesField(
        required=False, help_text="Names of groups for all of them, one per line."
    )

    def clean_file(self) -> str:
        file = self.cleaned_data["file"]
        if file is None:
            return ""
        if file.size > BYTES:
            raise forms.ValidationError(
                f"The file is larger than {BYTES // 1024:,} kB. Send it in parts."
            )
        try:
            return str(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise forms.ValidationError(
                "The file is not text in UTF-8. Save it as CSV in UTF-8."
            ) from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        text = "\n".join(filter(None, (data.get("people"), data.get("file"))))
        lines = [line for line in text.splitlines() if line.strip()]
        if "\0" in text:
            raise forms.ValidationError("A list can't hold a NUL character.")
        if len(lines) > LINES:
            raise forms.ValidationError(
                f"These are {len(lines):,} lines; a list takes {LINES:,} at most. "
                "Send it in parts."
            )
        if not lines and not self.errors:
            raise forms.ValidationError("Paste names, or choose a file.")
        data["text"] = "\n".join(lines)
        data["lines"] = read_lines(lines)
        return data


def read_lines(lines: list[str]) -> list[Line]:
    """Return the people of a list, once each, with the errors of their lines."""
    found: dict[str, Line] = {}
    for text in lines:
        parts = [
            part for part in re.split(r"[,;\t ]+", text.strip().strip('"')) if part
        ]
        name = naming.normalise_name(parts[0].strip('"')) if parts else ""
        email = parts[1].strip('"') if len(parts) > 1 else ""
        problem = ""
        if not naming.is_valid_name(name):
            problem = "is not a username"
        elif len(parts) > 2:
            problem = "has more than a name and an e-mail address"
        elif email:
            try:
                validate_email(email)
            except forms.ValidationError:
                problem = f"{email[:SHORT]} is no e-mail address"
        key = name if not problem else text
        if key in found:
            continue
        found[key] = Line(name if not problem else text[:SHORT], email, False, problem)
    names = [line.name for line in found.values() if not line.problem]
    there = set(names) - set(naming.unknown_users(names))
    return [
        replace(line, exists=not line.problem and line.name in there)
        for line in found.values()
    ]


def few_enough(names: list[str]) -> list[str]:
    """Refuse more names than one form may contain."""
    if len(names) > LINES:
        raise forms.ValidationError(
            f"These are {len(names):,} names; a form takes {LINES:,} at most. "
            "Paste the list in parts."
        )
    return names
