"""The audit log in the admin: list, search and filters."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import BooleanField, Model, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.chain import public_keys
from audit.models import ACTIONS, Event
from audit.rights import EVERYTHING, SCOPES, readable_events
from audit.sealing import state
from web.admin_base import DASH, ScopedAdmin, moment


class TargetFilter(admin.SimpleListFilter):
    """All events of one row, also those with many targets: the history of the row."""

    title = "target"
    parameter_name = "target"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        # There is no list of names to choose from, because the link from a row sets the
        # filter.
        asked = request.GET.get(self.parameter_name, "")
        return [(asked, asked.replace(":", " ", 1))] if asked else []

    def queryset(self, request: Any, queryset: QuerySet[Event]) -> QuerySet[Event]:
        asked = self.value()
        if not asked:
            return queryset
        kind, _, name = asked.partition(":")
        named = Q(target_name=name)
        if connection.vendor == "postgresql":
            listed = Q(target_name="", detail__names__contains=[name])
        else:
            listed = Q(target_name="") & Q(
                RawSQL(
                    "EXISTS (SELECT 1 FROM json_each(audit_event.detail, '$.names') "
                    "WHERE value = %s)",
                    [name],
                    output_field=BooleanField(),
                )
            )
        return queryset.filter(named | listed, target_kind=kind)


class ActionFilter(admin.SimpleListFilter):
    """Events by action; the list of actions is ours and needs no query."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(action, action) for action in ACTIONS]

    def queryset(self, request: Any, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class WhenFilter(admin.DateFieldListFilter):
    """Events by time, under the name of the column."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "when"


class ActorKindFilter(admin.SimpleListFilter):
    title = "actor"
    parameter_name = "actor_kind"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("user", "a user"),
            ("service", "a service"),
            ("system", "the hub"),
            ("anonymous", "anonymous"),
        ]

    def queryset(self, request: Any, queryset: QuerySet[Event]) -> QuerySet[Event]:
        kinds = {None: (), "anonymous": ("anonymous", "stranger")}.get(
            self.value(), (self.value(),)
        )
        return queryset.filter(actor_kind__in=kinds) if kinds else queryset


@admin.register(Event)
class EventAdmin(ScopedAdmin):
    """Rows are added by actions only, so the admin allows nothing but viewing."""

    searched = ("target_name", "actor_name")
    search_help_text = "Any part of the name of an actor or a target"
    exported = ("at", "actor", "token", "address", "action", "target", "details")

    list_display = ("when", "actor", "did", "target", "address", "sealed")
    list_select_related = ("seal",)
    list_display_links = ("when",)
    list_filter = (
        TargetFilter,
        ("at", WhenFilter),
        ActorKindFilter,
        ActionFilter,
    )
    sortable_by = ()
    fields = (
        "when",
        "actor",
        "token",
        "address",
        "did",
        "action",
        "target",
        "what",
        "place",
    )

    def changelist_view(
        self, request: Any, extra_context: dict[str, Any] | None = None
    ) -> Any:
        context: dict[str, Any] = {"title": "Audit log"}
        # The numbers are those of all events, also of those that others may not read.
        if request.user.access.covers(EVERYTHING):
            context |= chain_context()
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def has_view_permission(self, request: Any, obj: Model | None = None) -> bool:
        # The rights on one row are those of the queryset, because filters do not apply
        # to it.
        return request.user.access.has(*SCOPES)

    def get_queryset(self, request: Any) -> QuerySet[Event]:
        return readable_events(request.user.access)

    @admin.display(description="When")
    def when(self, event: Event) -> SafeString | str:
        return moment(event.at)

    @admin.display(description="Actor")
    def actor(self, event: Event) -> str:
        return event.actor

    @admin.display(description="Action")
    def did(self, event: Event) -> str:
        return event.words

    @admin.display(description="With token")
    def token(self, event: Event) -> str:
        return f"a{event.token_id}" if event.token_id else DASH

    @admin.display(description="Target")
    def target(self, event: Event) -> str:
        return event.target

    @admin.display(description="Details")
    def details(self, event: Event) -> str:
        return json.dumps(event.detail, ensure_ascii=False) if event.detail else DASH

    @admin.display(description="Details")
    def what(self, event: Event) -> SafeString | str:
        if not event.detail:
            return DASH
        text = json.dumps(event.detail, indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)

    @admin.display(description="Sealed")
    def sealed(self, event: Event) -> str:
        seal = getattr(event, "seal", None)
        return str(seal.sequence) if seal is not None else "Not yet"

    @admin.display(description="Sealed")
    def place(self, event: Event) -> SafeString | str:
        seal = getattr(event, "seal", None)
        if seal is None:
            return "Not yet"
        return format_html(
            "As number {}, hash <code>{}</code>",
            seal.sequence,
            bytes(seal.digest).hex(),
        )


def chain_context() -> dict[str, Any]:
    """Return the state of the hash chain for the page."""
    chain = state()
    checkpoint = chain.checkpoint
    return {
        "chain": chain,
        "checkpoint_at": (
            moment(datetime.fromisoformat(checkpoint.at)) if checkpoint else ""
        ),
        "oldest": moment(chain.oldest) if chain.oldest else "",
        "is_signed": checkpoint is None or checkpoint.is_signed(public_keys()),
    }
