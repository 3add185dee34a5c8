"""Issuing a token in the admin; the secret is shown once."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.helpers import AdminForm
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from accounts.naming import find_typed_user
from accounts.rights import members_among
from audit.models import Actor
from scopes.refusals import Refusal
from services.models import Service
from tokens.actions import issuing, values
from tokens.forms import MAXIMUM, NEVER, lifetimes
from tokens.models import CreatedVia
from web.admin_base import NamesField, ScopedAdmin


class IssueForm(forms.Form):
    """The owner of a new token, and its scopes."""

    kind = forms.ChoiceField(
        label="Owner is", choices=[("user", "a user"), ("service", "a service")]
    )
    owner = forms.CharField(label="Owner's name", max_length=255)
    note = forms.CharField(
        max_length=values.MAX_NOTE_LENGTH,
        help_text="The purpose of the token, shown to its owner.",
    )
    expires_in = forms.ChoiceField(label="Expires")
    scopes = NamesField(
        required=False,
        help_text="One per line, only scopes that the owner has. If empty, the token "
        "has all rights of its owner.",
    )

    def __init__(self, *args: Any, request: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        choices = lifetimes(timezone.now())
        self.fields["expires_in"].choices = choices
        month = str(30 * 86_400)
        self.fields["expires_in"].initial = (
            month if month in dict(choices) else choices[-1][0]
        )

    def clean_expires_in(self) -> int | None:
        chosen = self.cleaned_data["expires_in"]
        return None if chosen in (NEVER, MAXIMUM) else int(chosen)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "kind" in data and "owner" in data:
            owner = self._find(data["kind"], data["owner"])
            if owner is None:
                self.add_error("owner", f"No such {data['kind']}: {data['owner']}")
            elif not self._reaches(owner):
                self.add_error(
                    "owner",
                    f"{owner.name} has rights that you lack. Only an administrator"
                    " who may issue tokens for everybody can do this.",
                )
            data["owner"] = owner
        return data

    def _find(self, kind: str, name: str) -> User | Service | None:
        """Return the owner, if this person may issue tokens for the owner."""
        access = self.request.user.access
        if kind == "user":
            users = access.limit("tokens", queryset=User.objects.all())
            return find_typed_user(name, users)
        services = access.limit("tokens", queryset=Service.objects.all())
        return services.filter(name=name).first()

    def _reaches(self, owner: User | Service) -> bool:
        access = self.request.user.access
        if isinstance(owner, Service):
            return access.may_hand_out(
                lambda: owner.access.scopes, "tokens", members_among
            )
        return owner == self.request.user or access.may_hand_out(
            owner.scopes_beyond_role_user, "tokens", members_among
        )


class IssuingAdmin(ScopedAdmin):
    """The page that issues a token for a user or a service."""

    @sensitive_variables("secret")
    def add_view(
        self, request: Any, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Issue a token and show its secret in this response only.

        So there is no redirect: reloading the page would issue one more token, and the
        browser asks before that.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = IssueForm(request.POST or None, request=request)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Issue a token",
            "media": self.media,
        }
        if form.is_valid():
            data = form.cleaned_data
            try:
                token, secret = issuing.issue_token(
                    data["owner"],
                    by=Actor.of_request(request),
                    scopes=data["scopes"] or None,
                    note=data["note"],
                    expires_in=data["expires_in"],
                    via=CreatedVia.ADMIN,
                )
            except Refusal as refusal:
                form.add_error(None, refusal.for_people)
            else:
                context |= {"title": "Token issued", "token": token, "secret": secret}
                response = TemplateResponse(
                    request, "admin/tokens/apitoken/issued.html", context
                )
                response["Cache-Control"] = "no-store"
                return response
        fields = [(None, {"fields": [[name] for name in form.fields]})]
        context |= {
            "adminform": AdminForm(form, fields, {}, model_admin=self),
            "errors": form.errors,
        }
        return TemplateResponse(request, "admin/tokens/apitoken/issue.html", context)
