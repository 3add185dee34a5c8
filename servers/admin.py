"""Servers in the admin, to be read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.safestring import SafeString

from accounts.models import User
from audit.admin_base import ChosenFilter, ScopedAdmin, begins_with, moment
from servers.models import Server


class ConditionFilter(admin.SimpleListFilter):
    title = "condition"
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("on", "running or about to"),
            ("ready", "ready"),
            ("pending", "pending"),
            ("stopped", "stopped"),
        ]

    def queryset(self, request: Any, queryset: QuerySet[Server]) -> QuerySet[Server]:
        pending = Q(pending__isnull=False)
        conditions = {
            "on": Q(ready=True) | pending,
            "ready": Q(ready=True),
            "pending": pending,
            "stopped": Q(ready=False, pending=None),
        }
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition else queryset


class UserFilter(ChosenFilter):
    """Servers of one user."""

    title = "user"
    parameter_name = "user"

    def belonging(self, queryset: QuerySet[Server], name: str) -> QuerySet[Server]:
        return queryset.filter(user__name=name)


@admin.register(Server)
class ServerAdmin(ScopedAdmin):
    kind = "server"
    search_help_text = "Names of users or servers, from their start"
    list_display = ("full_name", "user_name", "condition", "since", "seen")
    list_display_links = ("full_name",)
    list_filter = (ConditionFilter, UserFilter)
    list_select_related = ("user",)
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        *("full_name", "user_name", "display_name", "condition", "url"),
        *("user_options", "since", "seen"),
    )

    def search(self, term: str) -> Q:
        users = User.objects.filter(begins_with("name", term)).order_by()
        return Q(user__in=users.values("pk")) | begins_with("name", term)

    @admin.display(description="Server")
    def full_name(self, server: Server) -> str:
        return str(server)

    @admin.display(description="User")
    def user_name(self, server: Server) -> str:
        return server.user.name

    @admin.display(description="Started")
    def since(self, server: Server) -> SafeString | str:
        return moment(server.started)

    @admin.display(description="Last activity")
    def seen(self, server: Server) -> SafeString | str:
        return moment(server.last_activity)

    @admin.display(description="Condition")
    def condition(self, server: Server) -> str:
        return "ready" if server.ready else server.get_pending_display() or "stopped"
