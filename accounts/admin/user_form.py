"""The form of one user."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django import forms
from django.conf import settings

from accounts.models import User
from web.admin_base import NamesField
from web.form_changes import ChangesForm

# What fields say of groups that the authenticator manages.
MANAGED_GROUPS = (
    "The authenticator says in which groups a person is: the person's next sign-in or"
    " refresh undoes changes made here."
)


def explain_managed(form: forms.Form | forms.ModelForm, *names: str) -> None:
    """Say in the help of these fields that changes of groups do not last."""
    if settings.HUB.manage_groups:
        for name in names:
            if name in form.fields:
                field = form.fields[name]
                field.help_text = f"{field.help_text} {MANAGED_GROUPS}"


class UserForm(ChangesForm):
    """A user with the groups that the reader may change."""

    groups = NamesField(required=False, help_text="Names of groups, one per line.")
    within_reach: ClassVar[list[str]] = []

    class Meta:
        model = User
        fields = ("name", "admin", "email")
        labels = {"admin": "Administrator", "email": "E-mail address"}  # noqa: RUF012
        help_texts = {  # noqa: RUF012
            "admin": "Holds the role admin: may see and change everything here.",
            "email": "Address for the link to a new password.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["groups"] = self.within_reach
        explain_managed(self, "groups")
        if self.instance.pk is None:
            # A field of one line would join the lines of a list into one name.
            name = self.fields["name"]
            name.widget = forms.Textarea({"rows": 1, "spellcheck": "false"})
            name.validators = []

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if self.instance.pk is None:
            parts = [part for part in re.split(r"[\r\n\t,;]", name) if part.strip()]
            number = max(len(parts), len(name.split()) - 1)
            if number > 1:
                raise forms.ValidationError(
                    "This is more than one name. Many users are added with "
                    "“Add a list of users” above the list of users."
                )
        return name
