"""What the admin shows about one token, and the narrowing of the token there."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone

from audit.models import Actor
from audit.rights import readable_events
from scopes.grammar import describe
from scopes.refusals import Refusal
from tokens.actions.changes import narrow_token
from tokens.least_privilege import (
    access_without,
    granted_scopes,
    scopes_within,
    used_scopes,
)
from tokens.models import APIToken
from tokens.operations import callable_with
from tokens.policy import policy_for, violations
from tokens.usage_chart import usage_chart
from web.admin_base import ScopedAdmin

# Events and pairs of network and program on the page of a token.
EVENTS_SHOWN = 20
# Groups of an owner that the page offers.
MOST_GROUPS = 500
USES_SHOWN = 5


class NarrowForm(forms.Form):
    """The scopes that a token keeps."""

    scopes = forms.MultipleChoiceField(
        label="Keep", widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, token: APIToken, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        texts = scopes_within(token, token.owner)
        field: Any = self.fields["scopes"]
        field.choices = [(text, f"{describe(text)} ({text})") for text in texts]
        field.initial = list(token.scopes)


class DetailedAdmin(ScopedAdmin):
    """The page of a token: use, permissions, history, and buttons that change it."""

    def may_change(self, request: Any, token: APIToken) -> bool:
        return not token.is_ended and request.user.access.allows(
            *self.scopes("change"), obj=token
        )

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        token: APIToken | None = context.get("original")
        if token is not None:
            context |= self.acts_context(request, token)
            context |= self.use_context(request, token)
        return super().render_change_form(request, context, *args, **kwargs)

    def acts_context(self, request: Any, token: APIToken) -> dict[str, Any]:
        may_change = token.revoked_at is None and request.user.access.allows(
            *self.scopes("change"), obj=token
        )
        return {
            "acts_url": reverse("admin:tokens_apitoken_changelist"),
            "narrow_url": reverse("admin:tokens_apitoken_narrow", args=[token.pk]),
            "without_url": reverse("admin:tokens_apitoken_without", args=[token.pk])
            if token.user_id is not None
            else "",
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "may_revoke": may_change,
            "may_narrow": self.may_change(request, token),
            "may_disable": may_change and token.disabled_at is None,
            "may_enable": may_change and token.disabled_at is not None,
            "may_freeze": may_change and token.frozen_at is None,
            "may_unfreeze": may_change and token.frozen_at is not None,
        }

    def use_context(self, request: Any, token: APIToken) -> dict[str, Any]:
        owner = token.owner
        events = readable_events(request.user.access).filter(
            target_kind="token", target_name=str(token)
        )
        return {
            "granted": granted_scopes(token, owner),
            "suggestion": used_scopes(token, owner),
            "callable": callable_with(token.access),
            "chart": usage_chart(
                dict(token.days.values_list("day", "count")), timezone.now().date()
            ),
            "uses": token.uses.all()[:USES_SHOWN],
            "previous_secrets": token.previous_secrets.order_by("-ends_at")[:5],
            "violations": []
            if token.is_ended
            else violations(token, policy_for(owner)),
            "events": events[:EVENTS_SHOWN],
        }

    def get_urls(self) -> list[Any]:
        narrow = self.admin_site.admin_view(self.narrow_view)
        without = self.admin_site.admin_view(self.without_view)
        return [
            path("<int:pk>/narrow/", narrow, name="tokens_apitoken_narrow"),
            path("<int:pk>/without/", without, name="tokens_apitoken_without"),
            *super().get_urls(),
        ]

    def without_view(self, request: Any, pk: int) -> HttpResponse:
        """Show what a token could call if its owner were not in a group."""
        token = self.find(request, "view", pk)
        if token is None or token.user is None:
            raise PermissionDenied
        groups = token.user.groups.order_by("name").values_list("name", flat=True)
        group = request.POST.get("without", "").replace("\0", "")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Token {token} without a group",
            "token": token,
            "groups": list(groups[:MOST_GROUPS]),
            "group": group,
            "callable": callable_with(access_without(token, group)),
            "before": callable_with(token.access) if group else [],
        }
        return TemplateResponse(request, "admin/tokens/apitoken/without.html", context)

    def find(self, request: Any, act: str, pk: int) -> APIToken | None:
        rows = APIToken.objects.select_related("user", "service")
        found: APIToken | None = (
            self.reachable(request, act, rows).filter(pk=pk).first()
        )
        return found

    def narrow_view(self, request: Any, pk: int) -> HttpResponse:
        """Choose the scopes that a token keeps."""
        found = self.find(request, "change", pk)
        if found is None or not self.may_change(request, found):
            raise PermissionDenied
        form = NarrowForm(request.POST or None, token=found)
        if form.is_valid():
            try:
                narrow_token(
                    found, form.cleaned_data["scopes"], by=Actor.of_request(request)
                )
            except Refusal as refusal:
                form.add_error(None, refusal.for_people)
            else:
                self.message_user(request, "Narrowed the token.", messages.SUCCESS)
                return HttpResponseRedirect(
                    reverse("admin:tokens_apitoken_change", args=[pk])
                )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Narrow token {found}",
            "form": form,
            "token": found,
        }
        return TemplateResponse(request, "admin/tokens/apitoken/narrow.html", context)
