"""allauth's forms of sign-in and profile, with the labels of this hub."""

from __future__ import annotations

import re
from typing import Any, Final

from allauth.account import forms as account
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp.forms import ActivateTOTPForm as AllauthActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm as AllauthAddWebAuthnForm
from django import forms
from django.conf import settings
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.password_validation import (
    password_validators_help_text_html,
    validate_password,
)
from django.core.cache import cache

from accounts.models import NAME_LENGTH, User
from accounts.naming import is_valid_name, normalise_name

# What NativeAuthenticator and FirstUseAuthenticator refuse in names, and control
# characters.
SEPARATORS: Final = re.compile(r"[\s,\x00-\x1f\x7f]")
# Characters of a password, because each one is read before it is hashed.
MOST_LETTERS: Final = 1_000


class PlainFieldsMixin:
    """Removes placeholders, which only repeat the labels above the fields."""

    labels: dict[str, str] = {}  # noqa: RUF012 - overridden, never changed

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():  # type: ignore[attr-defined]
            field.widget.attrs.pop("placeholder", None)
            field.label = self.labels.get(name, field.label)


class SignInForm(PlainFieldsMixin, account.LoginForm):
    """A name and a password, under the names that JupyterHub's clients send."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""
        self.fields["login"].widget.attrs.update(
            autocapitalize="none", spellcheck="false", autocomplete="username webauthn"
        )
        hub = settings.HUB
        if hub.authenticator_class == "dummy" and not hub.dummy_password:
            # Any password will do, also none, as in JupyterHub.
            self.fields["password"].required = False

    def add_prefix(self, field_name: str) -> str:
        return super().add_prefix("username" if field_name == "login" else field_name)

    def user_credentials(self) -> dict[str, Any]:
        """Return what was typed, also an empty password, which allauth leaves out."""
        password = self.cleaned_data.get("password", "")
        return {**super().user_credentials(), "password": password}


class HostedSignInForm(SignInForm):
    """The form of a hosted class, which checks what is typed; `otp` labels a code."""

    def __init__(self, *args: Any, otp: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].required = False
        if otp:
            self.fields["otp"] = forms.CharField(label=otp.rstrip(": "), required=False)
            self.fields["otp"].widget.attrs["autocomplete"] = "one-time-code"


class ReauthenticateForm(PlainFieldsMixin, account.ReauthenticateForm):
    """The password once more."""


class ChangePasswordForm(PlainFieldsMixin, account.ChangePasswordForm):
    """A new password, with the old one."""

    labels = {  # noqa: RUF012
        "oldpassword": "Current password",
        "password1": "New password",
        "password2": "Repeat the new password",
    }


class HostedPasswordForm(forms.Form):
    """A new password, with the old one, for a class that has its own rules."""

    oldpassword = forms.CharField(
        label="Current password",
        strip=False,
        max_length=MOST_LETTERS,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )
    password1 = forms.CharField(
        label="New password",
        strip=False,
        max_length=MOST_LETTERS,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )
    password2 = forms.CharField(
        label="Repeat the new password",
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )

    def clean_password2(self) -> str:
        repeated: str = self.cleaned_data["password2"]
        if repeated != self.cleaned_data.get("password1", repeated):
            raise forms.ValidationError("This is another password.")
        return repeated


class ResetPasswordForm(PlainFieldsMixin, account.ResetPasswordForm):
    """The address to which a link is sent."""

    labels = {"email": "E-mail address"}  # noqa: RUF012


class ResetPasswordKeyForm(PlainFieldsMixin, account.ResetPasswordKeyForm):
    """A new password, by link."""

    labels = {  # noqa: RUF012
        "password1": "New password",
        "password2": "Repeat the new password",
    }


class WelcomeForm(SetPasswordForm):
    """The first password of an account."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = "Password"
        self.fields["new_password2"].label = "Repeat the password"
        self.fields["new_password2"].help_text = ""

    def validate_password_for_user(self, user: Any, *field: str) -> None:
        # Errors are shown at the first field, not at the repetition.
        super().validate_password_for_user(user, "new_password1")

    def set_password_and_save(self, user: Any, *args: Any, **kwargs: Any) -> Any:
        # Only the password is written, because the account may have changed meanwhile.
        super().set_password_and_save(user, *args, **{**kwargs, "commit": False})
        user.save(update_fields=["password"])
        return user


class SignUpForm(forms.Form):
    """A sign-up, with NativeAuthenticator's names of the fields."""

    username = forms.CharField(
        label="Username",
        max_length=NAME_LENGTH,
        widget=forms.TextInput(
            {
                "autocapitalize": "none",
                "spellcheck": "false",
                "autocomplete": "username",
            }
        ),
    )
    email = forms.EmailField(
        label="E-mail address",
        widget=forms.EmailInput({"autocomplete": "email"}),
    )
    signup_password = forms.CharField(
        label="Password",
        strip=False,
        max_length=MOST_LETTERS,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )
    signup_password_confirmation = forms.CharField(
        label="Repeat the password",
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )
    terms = forms.BooleanField(
        label="I agree",
        widget=forms.CheckboxInput({"aria-describedby": "terms"}),
        error_messages={"required": "Tick the box to sign up."},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not settings.HUB.signup_ask_email:
            del self.fields["email"]
        if not settings.HUB.signup_terms:
            del self.fields["terms"]
        self.fields["signup_password"].help_text = password_validators_help_text_html()

    def clean_username(self) -> str:
        name = normalise_name(self.cleaned_data["username"])
        # Some names can be made by an operator, and would be confused with others in
        # lists or on a page.
        if not is_valid_name(name) or SEPARATORS.search(name):
            raise forms.ValidationError(
                "This can't be a name here. A name has no slash, comma or blank, and "
                "is not only dots; this hub may have further rules."
            )
        return name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        password = data.get("signup_password")
        if password is None:
            return data
        if password != data.get("signup_password_confirmation"):
            self.add_error("signup_password_confirmation", "This is another password.")
        person = User(name=data.get("username", ""), email=data.get("email", ""))
        try:
            validate_password(password, person)
        except forms.ValidationError as problem:
            self.add_error("signup_password", problem)
        return data


class OnceMixin:
    """Accepts each code of a second factor once during its validity.

    allauth remembers a code for one half-minute, but the hub accepts those of the
    neighbouring ones as well. The code by which an app is set up counts, too.
    """

    user: Any

    def clean_code(self) -> str:
        code = str(super().clean_code())  # type: ignore[misc]
        # Blanks and signs between digits are ignored.
        digits = "".join(filter(str.isalnum, code)).lower()
        periods = 2 * mfa_settings.TOTP_TOLERANCE + 2
        if not cache.add(
            f"accounts.code:{self.user.pk}:{digits}",
            True,
            timeout=periods * mfa_settings.TOTP_PERIOD,
        ):
            raise get_adapter().validation_error("incorrect_code")
        return code


class AuthenticateForm(OnceMixin, PlainFieldsMixin, mfa.AuthenticateForm):
    """The second factor while signing in."""

    labels = {"code": "Code"}  # noqa: RUF012


class MFAReauthenticateForm(OnceMixin, PlainFieldsMixin, mfa.ReauthenticateForm):
    """The second factor once more."""

    labels = {"code": "Code"}  # noqa: RUF012


class ActivateTOTPForm(OnceMixin, PlainFieldsMixin, AllauthActivateTOTPForm):
    """The first code of an app, which confirms that the app works."""

    labels = {"code": "Code from the app"}  # noqa: RUF012


class AddWebAuthnForm(PlainFieldsMixin, AllauthAddWebAuthnForm):
    """A name by which the owner of a key recognises it."""

    labels = {"name": "Name of the key", "passwordless": "Sign in without password"}  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].help_text = "A name to distinguish this key from others."
        # Passkeys are the default, because a key that can't sign in confuses its owner.
        self.fields["passwordless"].initial = True
        self.fields["passwordless"].help_text = (
            "The key checks your fingerprint, your face or its PIN, and replaces the "
            "password. Otherwise the key is only a second factor after the password. "
            "Untick this if your key supports none of the three."
        )
        # Filled in by the browser; pressing Enter in the field above leaves it empty.
        self.fields["credential"].error_messages["required"] = (
            "No key was added. Press “Add”, and your browser asks for it."
        )
