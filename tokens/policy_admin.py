"""Policies for tokens in the admin. A dry run comes before each save."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.core import signing
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.models import Group, Role
from audit.models import Actor
from database.search import contains
from scopes.grammar import check_scopes
from scopes.refusals import Refusal
from tokens import policy_actions
from tokens.models import TokenPolicy
from tokens.networks import check_networks
from tokens.policy import in_words
from tokens.policy_impact import impact
from web.admin_base import DASH, NamesField, ScopedAdmin, moment
from web.form_changes import KeepsUnedited

DAY: Final = 86_400
# Seconds for which a dry run may be confirmed.
CONFIRMED_FOR: Final = 3_600
SALT: Final = "tokens.policy.dry-run"
# Fields of the request that are no part of the policy.
APART: Final = frozenset({"csrfmiddlewaretoken", "_xsrf", "confirmed"})


class DaysField(forms.DecimalField):
    """A number of seconds that people write in days."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False, min_value=Decimal("0.001"), max_value=36_500, **kwargs
        )

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, int):
            return f"{Decimal(value) / DAY:.5f}".rstrip("0").rstrip(".")
        return value

    def clean(self, value: Any) -> int | None:
        days = super().clean(value)
        return None if days is None else round(days * DAY)


class PolicyForm(KeepsUnedited, forms.ModelForm):
    """The rules of a policy, and to whom it applies."""

    role_name = forms.CharField(
        label="Holders of the role",
        required=False,
        max_length=255,
        help_text="Leave role and group empty for everybody.",
    )
    group_name = forms.CharField(
        label="Members of the group", required=False, max_length=255
    )
    max_expires_in = DaysField(
        label="Longest life in days", help_text="Empty for no limit."
    )
    default_expires_in = DaysField(
        label="Default life in days",
        help_text="For those who state none; empty for the hub's default.",
    )
    scope_ceiling = NamesField(
        required=False,
        help_text="One scope per line. Tokens have no others; empty for no ceiling.",
    )
    approval_scopes = NamesField(
        label="Scopes that need an approval",
        required=False,
        help_text="One scope per line. Administrators decide about tokens with them.",
    )
    networks = NamesField(
        required=False,
        help_text="One network per line, such as 192.0.2.0/24; empty for any.",
    )
    effective_from = forms.DateTimeField(
        label="Existing tokens follow from",
        required=False,
        widget=forms.DateTimeInput(
            attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"
        ),
        help_text="UTC. New tokens follow the policy at once; without a date, existing"
        " ones never do.",
    )

    class Meta:
        model = TokenPolicy
        fields = (
            *("max_expires_in", "default_expires_in", "note_required"),
            *("scope_ceiling", "networks", "approval_scopes", "max_tokens"),
            *("max_unused_days", "effective_from"),
        )
        labels: ClassVar[dict[str, str]] = {
            "note_required": "A note is required",
            "max_tokens": "Most tokens of one owner",
            "max_unused_days": "Days without use after which a token ends",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.show_values()

    def present(self, name: str) -> Any:
        return getattr(self.instance, name)

    def clean_scope_ceiling(self) -> list[str] | None:
        return _scopes(self.cleaned_data["scope_ceiling"])

    def clean_approval_scopes(self) -> list[str] | None:
        return _scopes(self.cleaned_data["approval_scopes"])

    def clean_networks(self) -> list[str] | None:
        try:
            return check_networks(self.cleaned_data["networks"] or None)
        except Refusal as refusal:
            raise forms.ValidationError(refusal.for_people) from None

    def clean_max_unused_days(self) -> int | None:
        days: int | None = self.cleaned_data["max_unused_days"]
        if days == 0:
            raise forms.ValidationError("At least one day.")
        return days

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.instance.pk is None and not self.errors:
            self._find_subject(data)
        longest, usual = data.get("max_expires_in"), data.get("default_expires_in")
        if longest is not None and usual is not None and usual > longest:
            self.add_error(
                "default_expires_in",
                "The default life is longer than the longest life.",
            )
        return data

    def _find_subject(self, data: dict[str, Any]) -> None:
        role, group = data.get("role_name"), data.get("group_name")
        if role and group:
            self.add_error("group_name", "Choose a role or a group, not both.")
            return
        if role:
            self.instance.role = Role.objects.filter(name=role).first()
            if self.instance.role is None:
                self.add_error("role_name", f"No such role: {role}")
                return
        if group:
            self.instance.group = Group.objects.filter(name=group).first()
            if self.instance.group is None:
                self.add_error("group_name", f"No such group: {group}")
                return
        same = TokenPolicy.objects.filter(
            role=self.instance.role, group=self.instance.group
        )
        if same.exists():
            self.add_error(
                None, f"There is a policy for {self.instance} already: change that one."
            )


def _scopes(scopes: list[str]) -> list[str] | None:
    try:
        check_scopes(scopes)
    except Refusal as refusal:
        raise forms.ValidationError(refusal.for_people) from None
    return scopes or None


@admin.register(TokenPolicy)
class TokenPolicyAdmin(ScopedAdmin):
    """Policies for everybody, for roles and for groups."""

    kind = "policy"
    form = PolicyForm
    searched = ("role__name", "group__name")
    search_help_text = "Part of the name of a role or a group"
    list_display = ("subject", "longest", "needs_approval", "ends_unused", "existing")
    exported = (*("subject", "longest"), *policy_actions.RULES)
    list_select_related = ("role", "group")
    sortable_by = ()

    def search(self, term: str) -> Q:
        return contains(TokenPolicy, term, *self.searched, indexed=False)

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        fields = list(PolicyForm.Meta.fields)
        if obj is None:
            return [
                ("Applies to", {"fields": ["role_name", "group_name"]}),
                ("Rules", {"fields": fields}),
            ]
        return [(None, {"fields": fields})]

    def changeform_view(
        self, request: Any, object_id: Any = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the dry run of a valid form; save only what was confirmed after one."""
        if request.method == "POST" and not _is_confirmed(request, object_id):
            page = self.dry_run(request, object_id)
            if page is not None:
                return page
        return super().changeform_view(request, object_id, *args, **kwargs)

    def dry_run(self, request: Any, object_id: str | None) -> HttpResponse | None:
        """Return the page that says whom the policy affects; None if it is refused."""
        policy = None if object_id is None else self.get_object(request, object_id)
        if object_id is None:
            if not self.has_add_permission(request):
                return None
        elif policy is None or not self.has_change_permission(request, policy):
            return None
        form_class = self.get_form(request, policy, change=policy is not None)
        form = form_class(request.POST, instance=policy)
        if not form.is_valid():
            return None
        policy = form.save(commit=False)
        now = timezone.now()
        # Approvals from before the change will not count any more.
        policy.changed_at = now
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Policy for {policy}: whom it affects",
            "policy": policy,
            "impact": impact(policy, now),
            "is_in_force": policy.effective_from and policy.effective_from <= now,
            "given": [
                (name, value)
                for name, values in request.POST.lists()
                if name not in APART
                for value in values
            ],
            "confirmed": signing.dumps(_fingerprint(request, object_id), salt=SALT),
            "media": self.media,
        }
        return TemplateResponse(
            request, "admin/tokens/tokenpolicy/dry_run.html", context
        )

    def save_model(
        self, request: Any, obj: TokenPolicy, form: Any, change: bool
    ) -> None:
        policy_actions.save_policy(obj, by=Actor.of_request(request))

    def delete_model(self, request: Any, obj: TokenPolicy) -> None:
        policy_actions.delete_policy(obj, by=Actor.of_request(request))

    # Columns

    @admin.display(description="Applies to")
    def subject(self, policy: TokenPolicy) -> str:
        return str(policy)

    @admin.display(description="Longest life")
    def longest(self, policy: TokenPolicy) -> str:
        life = policy.max_expires_in
        return DASH if life is None else in_words(life)

    @admin.display(description="Need an approval")
    def needs_approval(self, policy: TokenPolicy) -> str:
        return ", ".join(policy.approval_scopes or ()) or DASH

    @admin.display(description="End without use after")
    def ends_unused(self, policy: TokenPolicy) -> str:
        days = policy.max_unused_days
        return DASH if days is None else f"{days} days"

    @admin.display(description="Existing tokens follow from")
    def existing(self, policy: TokenPolicy) -> SafeString | str:
        return moment(policy.effective_from, "never")


def _fingerprint(request: HttpRequest, object_id: str | None) -> str:
    """Return a hash of the values of a form, of the row and of who sends it."""
    values = sorted(
        (name, value)
        for name, given in request.POST.lists()
        if name not in APART
        for value in given
    )
    text = repr((request.user.pk, object_id, values))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_confirmed(request: HttpRequest, object_id: str | None) -> bool:
    try:
        confirmed = signing.loads(
            request.POST.get("confirmed", ""), salt=SALT, max_age=CONFIRMED_FOR
        )
    except signing.BadSignature:
        return False
    return bool(confirmed == _fingerprint(request, object_id))
