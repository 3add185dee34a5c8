"""The form for one more server."""

from __future__ import annotations

import re
import unicodedata

from django import forms

from scopes.refusals import Invalid
from servers.names import DISPLAY_NAME_LENGTH, check_display_name

NAME_LENGTH = 30
NAMELESS = "x"


def server_name_of(display_name: str) -> str:
    """Return a name for addresses, made from a display name.

    JupyterHub's own page makes the same name.
    """
    plain = "".join(
        char
        for char in unicodedata.normalize("NFKD", display_name)
        if not unicodedata.category(char).startswith("M")
    )
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).lstrip("-")
    if not name[:1].isalpha():
        name = f"{NAMELESS}-{name}"
    return name[:NAME_LENGTH].rstrip("-")


class AddServerForm(forms.Form):
    """A named server, given by its display name."""

    display_name = forms.CharField(
        label="Name of the new server", max_length=DISPLAY_NAME_LENGTH
    )

    def clean_display_name(self) -> str:
        # Surrounding blanks are invisible, so they are removed without an error.
        name = " ".join(self.cleaned_data["display_name"].split())
        try:
            check_display_name(name)
        except Invalid:
            raise forms.ValidationError(
                "Use letters, digits, signs and blanks; something in it can't be shown."
            ) from None
        return name

    @property
    def server_name(self) -> str:
        return server_name_of(self.cleaned_data["display_name"])
