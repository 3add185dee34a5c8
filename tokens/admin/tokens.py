"""Tokens in the admin: list, search, details and changes; no secrets."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin.belongings import Belonging, belongings, count_by
from accounts.admin.filters import named
from accounts.models import User
from database.search import contains
from scopes.grammar import describe
from services import admin as services_admin
from services.models import Service
from tokens.admin.bulk import BulkAdmin
from tokens.admin.details import DetailedAdmin
from tokens.admin.filters import (
    ClientFilter,
    CreatedViaFilter,
    ExpiryFilter,
    GroupFilter,
    LookFilter,
    NetworkFilter,
    OwnerKindFilter,
    PolicyFilter,
    PurposeFilter,
    RoleFilter,
    ScopeFilter,
    ServiceFilter,
    StateFilter,
    UseFilter,
    UserFilter,
)
from tokens.admin.identify import IdentifyingAdmin
from tokens.admin.issue import IssuingAdmin
from tokens.models import APIToken, Purpose
from tokens.states import STATES, position
from web.admin_base import DASH, moment, page_of
from web.admin_lists import rising

# Scopes of a token that the list names.
SCOPES_SHOWN = 3

# The looks of states for which the style sheet has another name.
LOOKS = {"active": "in-force", "stopped": "disabled"}

TOKENS = APIToken.objects.all()
LIST = "tokens_apitoken_changelist"
belongings.insert(0, Belonging("token", count_by(TOKENS, "read:tokens"), LIST, True))
services_admin.belongings.append(
    Belonging("token", count_by(TOKENS, "read:tokens", owner="service_id"), LIST, True)
)


@admin.register(APIToken)
class APITokenAdmin(IdentifyingAdmin, IssuingAdmin, BulkAdmin, DetailedAdmin):
    """Tokens can be issued, narrowed, disabled, frozen and revoked."""

    kind = "token"
    searched = ("note", "public_id")
    search_help_text = (
        "Part of an owner's name, a note or a public id; or an id, as a12"
    )

    list_display = (
        *("id_on_the_wire", "owner_name", "note", "state", "last_used"),
        *("expires", "since", "scopes_named", "purpose_named", "from_address"),
    )
    list_display_links = ("id_on_the_wire",)
    list_filter = (
        *(StateFilter, UseFilter, ExpiryFilter, ScopeFilter, PolicyFilter),
        *(LookFilter, PurposeFilter, CreatedViaFilter, NetworkFilter),
        *(OwnerKindFilter, GroupFilter, RoleFilter, "origin"),
        *(UserFilter, ServiceFilter, ClientFilter),
    )
    list_select_related = ("user", "service")
    ordering = ("-id",)
    sortable_by = ("id_on_the_wire", "state", "last_used", "expires", "since")
    exported = (
        *("id_on_the_wire", "public_id", "owner_exported", "note", "state"),
        *("scopes_exported", "last_activity", "expires_at", "created", "disabled_at"),
        *("revoked_at", "origin", "client_id", "purpose_named", "created_via"),
        *("created_by", "created_address", "last_address", "last_agent"),
        *("last_endpoint", "networks_exported", "rate_limit", "frozen_at"),
    )
    change_form_template = "admin/tokens/apitoken/change_form.html"

    def get_queryset(self, request: Any) -> QuerySet[APIToken]:
        return super().get_queryset(request).annotate(standing=position(timezone.now()))

    def changelist_view(self, request: Any, extra_context: Any = None) -> HttpResponse:
        may_change = self.has_revoke_permission(request)
        context = {"may_change_many": may_change, **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_fields(self, request: Any, obj: APIToken | None = None) -> tuple[str, ...]:
        return (
            *("id_on_the_wire", "begins_with", "public_id", "owner_name", "note"),
            *("state", "purpose_named", "scopes_said", "since", "created_how"),
            *("last_used", "last_address", "last_agent", "last_endpoint", "expires"),
            *(
                "networks_named",
                "rate_named",
                "rotated",
                "stopped",
                "disabled",
                "frozen",
                "revoked",
            ),
            *("origin", "client_id"),
        )

    def has_add_permission(self, request: Any) -> bool:
        # The owner of a token exists already, so a scope with a filter is enough.
        return request.user.access.has(*self.scopes("add"))

    def has_change_permission(self, request: Any, obj: APIToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: APIToken | None = None) -> bool:
        return False

    def search(self, term: str) -> Q:
        users = User.objects.filter(named(term)).order_by().values("pk")
        services = Service.objects.filter(
            contains(Service, term, "name", indexed=False)
        )
        tokens = APIToken.objects.order_by().values("pk")
        found = tokens.filter(contains(APIToken, term, *self.searched)).union(
            tokens.filter(user__in=users),
            tokens.filter(service__in=services.order_by().values("pk")),
            all=True,
        )
        condition = Q(pk__in=found)
        if number := re.fullmatch(r"a(\d{1,18})", term):
            condition |= Q(pk=int(number[1]))
        return condition

    # Columns and fields

    @admin.display(description="Token", ordering="id")
    def id_on_the_wire(self, token: APIToken) -> str:
        return str(token)

    @admin.display(description="Owner")
    def owner_name(self, token: APIToken) -> SafeString:
        name = token.owner.name
        if token.user_id is not None:
            return page_of("accounts_user", token.user_id, name)
        where = page_of("services_service", token.owner.pk, name)
        return format_html("{} (service)", where)

    @admin.display(description="Owner")
    def owner_exported(self, token: APIToken) -> str:
        name = token.owner.name
        return name if token.owner_kind == "user" else f"{name} (service)"

    @admin.display(description="Scopes")
    def scopes_exported(self, token: APIToken) -> str:
        return " ".join(token.scopes)

    def named(self, row: APIToken) -> str:
        named = f"{row} of {self.owner_exported(row)}"
        return f"{named}: {row.note}" if row.note else named

    @admin.display(description="State", ordering="standing")
    def state(self, token: Any) -> SafeString:
        state = STATES[token.standing]
        look = LOOKS.get(state, state)
        return format_html('<span class="state {}">{}</span>', look, state)

    @admin.display(description="Last used", ordering=rising("last_activity"))
    def last_used(self, token: APIToken) -> SafeString | str:
        return moment(token.last_activity, "never")

    @admin.display(description="Expires", ordering=F("expires_at").asc(nulls_last=True))
    def expires(self, token: APIToken) -> SafeString | str:
        return moment(token.expires_at, "never")

    @admin.display(description="Created", ordering="created")
    def since(self, token: APIToken) -> SafeString | str:
        return moment(token.created)

    @admin.display(description="Scopes")
    def scopes_named(self, token: APIToken) -> SafeString | str:
        some = token.scopes[:SCOPES_SHOWN]
        more = len(token.scopes) - len(some)
        return (
            format_html(
                "{}{}",
                format_html_join(" ", "<code>{}</code>", ((each,) for each in some)),
                f" and {more} more" if more else "",
            )
            if some
            else "none"
        )

    @admin.display(description="For")
    def purpose_named(self, token: APIToken) -> str:
        return str(Purpose(token.purpose or Purpose.PERSON).label)

    @admin.display(description="Last address")
    def from_address(self, token: APIToken) -> str:
        return token.last_address or DASH

    @admin.display(description="Networks")
    def networks_exported(self, token: APIToken) -> str:
        return " ".join(token.networks or ())

    @admin.display(description="Begins with")
    def begins_with(self, token: APIToken) -> SafeString | str:
        if not token.visible_start:
            return "the secret was imported"
        return format_html("<code>{}…</code>", token.visible_start)

    @admin.display(description="Created by")
    def created_how(self, token: APIToken) -> str:
        parts = [token.created_by]
        if token.created_via:
            parts.append(f"through {token.get_created_via_display()}")
        if token.created_address:
            parts.append(f"from {token.created_address}")
        return ", ".join(filter(None, parts))

    @admin.display(description="Networks")
    def networks_named(self, token: APIToken) -> str:
        return ", ".join(token.networks or ()) or "any"

    @admin.display(description="Rate")
    def rate_named(self, token: APIToken) -> str:
        if token.rate_limit is None:
            return "not limited"
        return f"at most {token.rate_limit} requests in a minute"

    @admin.display(description="Rotated")
    def rotated(self, token: APIToken) -> SafeString | str:
        return moment(token.rotated_at)

    @admin.display(description="Stopped")
    def stopped(self, token: APIToken) -> SafeString | str:
        if not token.is_stopped:
            return DASH
        exchange = getattr(token, "exchange", None)
        if exchange is None or exchange.parent is None:
            return "with the token for which it was exchanged"
        parent = page_of("tokens_apitoken", exchange.parent.pk, exchange.parent)
        return format_html("with {}, for which it was exchanged", parent)

    @admin.display(description="Frozen")
    def frozen(self, token: APIToken) -> SafeString | str:
        said = _by(token.frozen_at, token.frozen_by)
        if token.frozen_at is None or not token.frozen_reason:
            return said
        return format_html("{}: {}", said, token.frozen_reason)

    @admin.display(description="Disabled")
    def disabled(self, token: APIToken) -> SafeString | str:
        return _by(token.disabled_at, token.disabled_by)

    @admin.display(description="Revoked")
    def revoked(self, token: APIToken) -> SafeString | str:
        return _by(token.revoked_at, token.revoked_by)

    @admin.display(description="Scopes")
    def scopes_said(self, token: APIToken) -> SafeString | str:
        if not token.scopes:
            return "None, the token only identifies its owner"
        items = format_html_join(
            "",
            "<dt><code>{}</code></dt><dd>{}</dd>",
            ((scope, describe(scope)) for scope in token.scopes),
        )
        return format_html('<dl class="scopes">{}</dl>', items)


def _by(when: datetime | None, who: str) -> SafeString | str:
    """Return when something was done, and by whom if that is known."""
    said = moment(when)
    return format_html("{} by {}", said, who) if when and who else said
