"""Acts on many tokens in the admin: a preview, then steps, progress and an undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse

from audit.models import Actor
from scopes.refusals import Refusal
from tokens import bulk
from tokens.models import APIToken, BulkChange
from web.admin_base import ScopedAdmin, count_of

# Owners and tokens that the preview names, and acts that the list of acts shows.
OWNERS_SHOWN = 20
TOKENS_SHOWN = 20
ACTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Words:
    """What the preview of an act says, and the tokens on which the act can work."""

    verb: str
    warning: str
    condition: Q


ACTS = {
    "revoke": Words(
        "Revoke",
        "They stop working at once and for ever. Revoking a token of an OAuth client"
        " removes all its access for the same owner.",
        Q(),
    ),
    "disable": Words(
        "Disable",
        "They stop working until they are enabled again. This can be undone for"
        f" {bulk.KEPT.days} days.",
        Q(disabled_at=None),
    ),
    "enable": Words(
        "Enable",
        "They work again until they expire.",
        Q(disabled_at__isnull=False),
    ),
    "freeze": Words(
        "Freeze",
        "They stop working until somebody has looked into the matter and unfreezes"
        " them. Their owners can do that after a recent sign-in.",
        Q(frozen_at=None),
    ),
    "unfreeze": Words(
        "Unfreeze",
        "They work again. Do this only if you know what the use was that froze them.",
        Q(frozen_at__isnull=False),
    ),
}


class BulkAdmin(ScopedAdmin):
    """Revokes, disables, enables, freezes and unfreezes many tokens at once."""

    actions = ("revoke", "disable", "enable", "freeze", "unfreeze")

    def has_revoke_permission(self, request: Any) -> bool:
        return request.user.access.has(*self.scopes("change"))

    @admin.action(description="Revoke the selected tokens", permissions=["revoke"])
    def revoke(self, request: Any, queryset: QuerySet[APIToken]) -> HttpResponse | None:
        return self.act(request, "revoke", queryset)

    @admin.action(description="Disable the selected tokens", permissions=["revoke"])
    def disable(
        self, request: Any, queryset: QuerySet[APIToken]
    ) -> HttpResponse | None:
        return self.act(request, "disable", queryset)

    @admin.action(description="Enable the selected tokens", permissions=["revoke"])
    def enable(self, request: Any, queryset: QuerySet[APIToken]) -> HttpResponse | None:
        return self.act(request, "enable", queryset)

    @admin.action(description="Freeze the selected tokens", permissions=["revoke"])
    def freeze(self, request: Any, queryset: QuerySet[APIToken]) -> HttpResponse | None:
        return self.act(request, "freeze", queryset)

    @admin.action(description="Unfreeze the selected tokens", permissions=["revoke"])
    def unfreeze(
        self, request: Any, queryset: QuerySet[APIToken]
    ) -> HttpResponse | None:
        return self.act(request, "unfreeze", queryset)

    def act(
        self, request: Any, act: str, queryset: QuerySet[APIToken]
    ) -> HttpResponse | None:
        """Show the preview of an act; after the confirmation begin the act."""
        words = ACTS[act]
        tokens = self.reachable(request, "change", queryset).filter(
            words.condition, revoked_at=None
        )
        if not request.POST.get("confirmed"):
            return self.preview(request, act, words, tokens)
        try:
            change = bulk.begin(act, tokens, by=Actor.of_request(request))
        except Refusal as refusal:
            self.message_user(request, refusal.for_people, messages.ERROR)
            return None
        return self.proceed(request, change)

    def preview(
        self, request: Any, act: str, words: Words, tokens: QuerySet[APIToken]
    ) -> HttpResponse | None:
        """Show how many tokens of which owners an act would change."""
        tokens = tokens.order_by()
        by_owner = list(
            tokens.values("user__name", "service__name")
            .annotate(number=Count("pk"))
            .order_by("-number", "user__name", "service__name")
        )
        number = sum(each["number"] for each in by_owner)
        if not number:
            self.message_user(
                request, "You may not change any of these rows.", messages.WARNING
            )
            return None
        owners = [
            (
                each["user__name"] or f"{each['service__name']} (service)",
                each["number"],
            )
            for each in by_owner[:OWNERS_SHOWN]
        ]
        shown = tokens.select_related("user", "service").order_by("-pk")
        context = {
            **self.admin_site.each_context(request),
            "title": f"{words.verb} tokens",
            "opts": self.opts,
            "media": self.media,
            "number": number,
            "noun": "token" if number == 1 else "tokens",
            "rows": [self.named(row) for row in shown[:TOKENS_SHOWN]],
            "more": max(0, number - TOKENS_SHOWN),
            "owners": owners,
            "owner_count": len(by_owner),
            "more_owners": max(0, len(by_owner) - OWNERS_SHOWN),
            "more_of_owners": number - sum(count for _, count in owners),
            "verb": words.verb,
            "warning": words.warning,
            "action": act,
            "select_across": request.POST.get("select_across", "0"),
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "stay": request.POST.get("stay", ""),
        }
        return TemplateResponse(
            request, "admin/tokens/apitoken/confirm_bulk.html", context
        )

    def proceed(self, request: Any, change: BulkChange) -> HttpResponse | None:
        """Do the first steps; lead to the progress if there are more, or to an undo."""
        bulk.proceed(change)
        if change.finished_at is None or (
            change.act == BulkChange.Act.DISABLE and change.changed > 1
        ):
            return HttpResponseRedirect(
                reverse("admin:tokens_apitoken_bulk", args=[change.pk])
            )
        self.say_result(request, change)
        return None

    def say_result(self, request: Any, change: BulkChange) -> None:
        if change.refusal:
            self.message_user(request, change.refusal, messages.ERROR)
            return
        said = f"{change.done.capitalize()} {count_of(change.changed, 'token')}."
        self.message_user(request, said, messages.SUCCESS)

    # Progress and undo

    def get_urls(self) -> list[Any]:
        wrapped = self.admin_site.admin_view
        name = "tokens_apitoken_bulk"
        return [
            path("bulk/", wrapped(self.bulk_list_view), name=f"{name}_list"),
            path("bulk/<int:pk>/", wrapped(self.bulk_view), name=name),
            *super().get_urls(),
        ]

    def visible_changes(self, request: Any) -> QuerySet[BulkChange]:
        """Return the acts of this person; of everybody for who may change all."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        changes = BulkChange.objects.defer("ids")
        if request.user.access.covers(self.scopes("change")):
            return changes
        return changes.filter(actor_kind="user", actor_name=request.user.name)

    def bulk_list_view(self, request: Any) -> HttpResponse:
        """List the latest acts on many tokens."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Changes of many tokens",
            "changes": self.visible_changes(request)
            .filter(total__gt=1)
            .select_related("undone_by")
            .defer("ids", "undone_by__ids")[:ACTS_SHOWN],
        }
        return TemplateResponse(
            request, "admin/tokens/apitoken/bulk_list.html", context
        )

    def bulk_view(self, request: Any, pk: int) -> HttpResponse:
        """Show how far an act is; a POST continues the act, or undoes it."""
        change = get_object_or_404(self.visible_changes(request), pk=pk)
        if request.method == "POST":
            try:
                return self.change_bulk(request, change)
            except Refusal as refusal:
                self.message_user(request, refusal.for_people, messages.ERROR)
                return HttpResponseRedirect(request.path)
        undone = BulkChange.objects.filter(undoes=change).defer("ids").first()
        still = 0
        if change.act == BulkChange.Act.DISABLE and undone is None:
            still = self.undoable(request, change).count()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{ACTS[change.act].verb} {count_of(change.total, 'token')}",
            "change": change,
            "percent": 100 * change.position // change.total if change.total else 100,
            "undone": undone,
            "still": still,
        }
        return TemplateResponse(request, "admin/tokens/apitoken/bulk.html", context)

    def change_bulk(self, request: Any, change: BulkChange) -> HttpResponse:
        if request.POST.get("undo"):
            change = bulk.undo(
                change,
                self.undoable(request, change),
                by=Actor.of_request(request),
            )
        bulk.proceed(change)
        return HttpResponseRedirect(
            reverse("admin:tokens_apitoken_bulk", args=[change.pk])
        )

    def undoable(self, request: Any, change: BulkChange) -> QuerySet[APIToken]:
        return self.reachable(request, "change", bulk.disabled_by(change))
