"""Servers in the admin: found, explained, started, stopped and opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import User
from audit.admin_base import (
    DASH,
    CaseFilter,
    ChosenFilter,
    ScopedAdmin,
    actor_of,
    ask_first,
    begins_with,
    link,
    moment,
)
from audit.models import Event
from servers import actions
from servers.models import ACTIVE, Server
from servers.openings import OPEN
from servers.report import Report, line_of

# More links than this are of no use on one page.
LINKS = 500
# What the page of one server shows of what was said and done.
LATEST = 10


class ConditionFilter(CaseFilter):
    title = "condition"
    parameter_name = "state"

    def cases(self) -> dict[str, tuple[str, Q]]:
        stopped = Q(ready=False, pending=None)
        return {
            "on": ("running or about to", ACTIVE),
            "ready": ("ready", Q(ready=True)),
            "starting": ("starting", Q(pending__in=("spawn", "check"))),
            "stopping": ("stopping", Q(pending="stop")),
            "stopped": ("stopped", stopped),
            "failed": ("failed to start", stopped & ~Q(failure="")),
        }


class UserFilter(ChosenFilter):
    """Servers of one user."""

    title = "user"
    parameter_name = "user"

    def belonging(self, queryset: QuerySet[Server], name: str) -> QuerySet[Server]:
        return queryset.filter(user__name=name)


@admin.register(Server)
class ServerAdmin(ScopedAdmin):
    """Servers are started, stopped and opened; what they are is their owner's."""

    kind = "server"
    search_help_text = "Owner's name or server's name, from its start; or owner/server"
    list_display = ("full_name", "label", "condition", "since", "seen", "address")
    list_display_links = ("full_name",)
    list_filter = (ConditionFilter, UserFilter)
    list_select_related = ("user",)
    ordering = ("-id",)
    sortable_by = ()
    actions = ("start", "stop", "open")
    change_form_template = "admin/servers/server/change_form.html"

    def get_fields(self, request: Any, obj: Server | None = None) -> list[str]:
        fields = ["full_name", "owner", "label", "condition", "why"]
        access = request.user.access
        sees_inside = access.allows("admin:server_state", obj=obj)
        if sees_inside and obj is not None and obj.failure_detail:
            fields.append("exception")
        fields += ["address", "options", "since", "seen", "made", "said"]
        if sees_inside:
            fields.append("inner_state")
        if access.allows("read:shares", obj=obj):
            fields.append("shared_with")
        return [*fields, "opened"]

    def search(self, term: str) -> Q:
        owner, slash, name = term.partition("/")
        if slash:
            return Q(user__name=owner) & begins_with("name", name)
        users = User.objects.filter(begins_with("name", term)).order_by()
        return (
            Q(user__in=users.values("pk"))
            | begins_with("name", term)
            | begins_with("display_name", term)
        )

    # Bulk acts, on all rows that match if so chosen

    def has_start_permission(self, request: Any) -> bool:
        return request.user.access.has("start:servers")

    def has_stop_permission(self, request: Any) -> bool:
        return request.user.access.has("delete:servers")

    def has_open_permission(self, request: Any) -> bool:
        return request.user.access.has("access:servers")

    @admin.action(description="Start the selected servers", permissions=["start"])
    def start(self, request: Any, queryset: QuerySet[Server]) -> HttpResponse | None:
        def act(servers: QuerySet[Server]) -> str:
            asked = servers.order_by().count()
            number = actions.start_servers(servers, by=actor_of(request))
            if number < asked:
                return (
                    f"Starting {number} of {asked} servers. For the others there is no "
                    "room now, or they may not be started: start them later."
                )
            return f"Starting {number} server{'' if number == 1 else 's'}."

        return self.ask(
            request,
            queryset.exclude(ACTIVE),
            scope="start:servers",
            verb="Start",
            warning="Each starts with the options that it had the last time.",
            act=act,
        )

    @admin.action(description="Stop the selected servers", permissions=["stop"])
    def stop(self, request: Any, queryset: QuerySet[Server]) -> HttpResponse | None:
        def act(servers: QuerySet[Server]) -> str:
            number = actions.stop_servers(servers, by=actor_of(request))
            return f"Stopping {number} server{'' if number == 1 else 's'}."

        return self.ask(
            request,
            queryset.filter(ACTIVE).exclude(pending="stop"),
            scope="delete:servers",
            verb="Stop",
            warning="What runs in them ends, and what was not saved is lost.",
            act=act,
        )

    def ask(
        self,
        request: Any,
        queryset: QuerySet[Server],
        *,
        scope: str,
        verb: str,
        warning: str,
        act: Callable[[QuerySet[Server]], str],
    ) -> HttpResponse | None:
        """Ask about the servers that the act concerns and that its scope reaches."""
        reached = request.user.access.limit(scope, queryset=queryset)
        if not reached.order_by().exists():
            self.message_user(
                request,
                f"There is nothing to {verb.lower()} among these, or not for you.",
                messages.WARNING,
            )
            return None
        return ask_first(
            self,
            request,
            reached.select_related("user"),
            title=f"{verb} servers",
            verb=verb,
            warning=warning,
            act=act,
        )

    @admin.action(description="Open the selected servers", permissions=["open"])
    def open(self, request: Any, queryset: QuerySet[Server]) -> HttpResponse:
        """Show a link to each running server; a browser opens one tab for a click."""
        reached = request.user.access.limit("access:servers", queryset=queryset)
        running = reached.filter(ready=True).select_related("user")
        number = running.order_by().count()
        context = {
            **self.admin_site.each_context(request),
            "title": "Open servers",
            "opts": self.opts,
            "media": self.media,
            "servers": running.order_by("user__name", "name")[:LINKS],
            "number": number,
            "more": max(0, number - LINKS),
            "others": reached.order_by().count() - number,
        }
        return TemplateResponse(request, "admin/servers/server/open.html", context)

    # One server

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        server: Server | None = context.get("original")
        if server is not None:
            access = request.user.access
            stopping = server.pending == Server.Pending.STOP
            context |= {
                "acts_url": reverse("admin:servers_server_changelist"),
                "checkbox_name": ACTION_CHECKBOX_NAME,
                "may_start": not server.is_active
                and access.allows("start:servers", obj=server),
                "may_stop": server.is_active
                and not stopping
                and access.allows("delete:servers", obj=server),
                "may_open": server.ready
                and access.allows("access:servers", obj=server),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    # What is shown

    @admin.display(description="Server")
    def full_name(self, server: Server) -> str:
        return str(server)

    @admin.display(description="Owner")
    def owner(self, server: Server) -> SafeString:
        return link("accounts_user_changelist", server.user.name, q=server.user.name)

    @admin.display(description="Name")
    def label(self, server: Server) -> str:
        return server.display_name or server.name or "(default)"

    @admin.display(description="Condition")
    def condition(self, server: Server) -> SafeString:
        if server.ready:
            words = "ready"
        elif server.pending:
            words = server.get_pending_display()
        else:
            words = "failed" if server.failure else "stopped"
        return format_html(
            '<span class="state {}">{}</span>', words.replace(" ", "-"), words
        )

    @admin.display(description="Last failure")
    def why(self, server: Server) -> str:
        return Report.of(server).failure or DASH

    @admin.display(description="Exception")
    def exception(self, server: Server) -> SafeString:
        """The text that people do not see."""
        return format_html("<pre>{}</pre>", server.failure_detail)

    @admin.display(description="Started")
    def since(self, server: Server) -> SafeString | str:
        return moment(server.started)

    @admin.display(description="Last activity")
    def seen(self, server: Server) -> SafeString | str:
        return moment(server.last_activity, "never")

    @admin.display(description="Created")
    def made(self, server: Server) -> SafeString | str:
        return moment(server.created)

    @admin.display(description="Address")
    def address(self, server: Server) -> SafeString | str:
        # A path alone does not say whether anything answers there.
        if not server.ready:
            return DASH
        return format_html("<code>{}</code>", server.path)

    @admin.display(description="Options")
    def options(self, server: Server) -> SafeString | str:
        return _as_json(server.user_options)

    @admin.display(description="Spawner's state")
    def inner_state(self, server: Server) -> SafeString | str:
        return _as_json(server.state)

    @admin.display(description="Latest start")
    def said(self, server: Server) -> SafeString | str:
        events = server.events.order_by("-id")[:LATEST]
        failure = Report.of(server).failure
        return _lines(
            (moment(event.created), line_of(event.data, failure))
            for event in reversed(events)
        )

    @admin.display(description="Shared with")
    def shared_with(self, server: Server) -> SafeString | str:
        shares = server.shares.select_related("user", "group")
        return _lines(
            (f"{share.kind} {share.recipient}", ", ".join(share.scopes))
            for share in shares
        )

    @admin.display(description="Opened by others")
    def opened(self, server: Server) -> SafeString | str:
        owner = Q(actor_kind="user", actor_name=server.user.name)
        events = Event.objects.filter(
            target_kind="server", target_name=str(server), action=OPEN
        ).exclude(owner)
        return _lines((moment(event.at), event.actor_name) for event in events[:LATEST])


def _as_json(value: Any) -> SafeString | str:
    if not value:
        return DASH
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html("<pre>{}</pre>", text)


def _lines(pairs: Any) -> SafeString | str:
    items = format_html_join("", "<li>{}: {}</li>", pairs)
    return format_html("<ul>{}</ul>", items) if items else DASH
