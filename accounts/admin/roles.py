"""Roles in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import Role
from database.search import contains
from scopes.grammar import describe
from web.admin_base import (
    DASH,
    ScopedAdmin,
    link,
)


@admin.register(Role)
class RoleAdmin(ScopedAdmin):
    """Roles, read only: the configuration or an authenticator defines them."""

    kind = "role"
    search_help_text = "Any part of a name or description"
    searched = ("name", "description")

    list_display = ("name", "description", "defined_by", "holders")
    exported = ("name", "description", "all_scopes")
    ordering = ("name",)
    sortable_by = ("name",)
    fields = ("name", "description", "defined_by", "in_words", "holders")
    readonly_fields = ("defined_by", "in_words", "holders")

    def search(self, term: str) -> Q:
        return contains(Role, term, *self.searched, indexed=False)

    @admin.display(description="Scopes")
    def all_scopes(self, role: Role) -> str:
        return " ".join(role.scopes)

    @admin.display(description="Defined by")
    def defined_by(self, role: Role) -> str:
        return "the authenticator" if role.managed_by_auth else "the configuration"

    @admin.display(description="Scopes")
    def in_words(self, role: Role) -> SafeString | str:
        if not role.scopes:
            return DASH
        items = format_html_join(
            "",
            "<dt><code>{}</code></dt><dd>{}</dd>",
            ((scope, describe(scope)) for scope in role.scopes),
        )
        return format_html('<dl class="scopes">{}</dl>', items)

    @admin.display(description="Held by")
    def holders(self, role: Role) -> SafeString:
        def to(view: str, noun: str) -> SafeString:
            text = format_html(
                '{} <span class="visually-hidden">with role {}</span>', noun, role
            )
            return link(view, text, role=role.name)

        return format_html(
            "{} · {} · {}",
            to("accounts_user_changelist", "Users"),
            to("accounts_group_changelist", "Groups"),
            to("services_service_changelist", "Services"),
        )
