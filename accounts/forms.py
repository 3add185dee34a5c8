"""Forms of sign-in and profile."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm
from django.contrib.auth.forms import SetPasswordForm


class SignInForm(LoginForm):
    """allauth's form, with the field names that JupyterHub's clients send."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
        self.fields["password"].help_text = ""
        self.fields["login"].widget.attrs.update(
            autocapitalize="none", spellcheck="false", autocomplete="username webauthn"
        )

    def add_prefix(self, field_name: str) -> str:
        return super().add_prefix("username" if field_name == "login" else field_name)


class WelcomeForm(SetPasswordForm):
    """Chooses the first password of an account."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = "Password"
        self.fields["new_password2"].label = "The same password again"
        self.fields["new_password2"].help_text = ""
