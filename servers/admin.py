"""Servers in the admin, to be read."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.safestring import SafeString

from accounts.models import User
from audit.admin_base import CaseFilter, ChosenFilter, ScopedAdmin, begins_with, moment
from servers.models import Server


class ConditionFilter(CaseFilter):
    title = "condition"
    parameter_name = "state"

    def cases(self) -> dict[str, tuple[str, Q]]:
        pending = Q(pending__isnull=False)
        return {
            "on": ("running or about to", Q(ready=True) | pending),
            "ready": ("ready", Q(ready=True)),
            "pending": ("pending", pending),
            "stopped": ("stopped", Q(ready=False, pending=None)),
        }


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
