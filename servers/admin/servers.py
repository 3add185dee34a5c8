"""Servers in the admin: search, details, start, stop and open."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Q, QuerySet, SmallIntegerField, When
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin.filters import named, some_groups
from accounts.models import User
from accounts.naming import normalise_name
from audit.models import Actor, Event
from database.search import contains
from scopes.refusals import Refusal
from servers import actions
from servers.access_log import OPEN
from servers.models import ACTIVE, Server
from servers.report import Report, line_of
from web.admin_base import (
    DASH,
    CaseFilter,
    ChosenFilter,
    ScopedAdmin,
    ask_first,
    count_of,
    moment,
    page_of,
)
from web.admin_lists import rising

LOST = "Their programs end, and unsaved work is lost."

# Most links on one page.
LINKS = 500

# Most events and entries of the audit log on the page of one server.
LATEST = 10

# Ready servers come first, then pending ones.
RANK = Case(
    When(ready=True, then=0),
    When(pending__isnull=False, then=1),
    default=2,
    output_field=SmallIntegerField(),
)


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


class GroupFilter(ChosenFilter):
    """Servers of the members of one group."""

    title = "owner's group"
    parameter_name = "group"

    def offered(self, request: Any) -> Iterable[str]:
        return some_groups(request)

    def belonging(self, queryset: QuerySet[Server], name: str) -> QuerySet[Server]:
        members = User.groups.through.objects.filter(group__name=name)
        return queryset.filter(user__in=members.values("user_id"))


class UserFilter(ChosenFilter):
    """Servers of one user."""

    title = "user"
    parameter_name = "user"

    def belonging(self, queryset: QuerySet[Server], name: str) -> QuerySet[Server]:
        return queryset.filter(user__name=name)


@admin.register(Server)
class ServerAdmin(ScopedAdmin):
    """Servers can be started, stopped and opened; only the owner edits them."""

    kind = "server"
    searched = ("name", "display_name")
    search_help_text = "Part of an owner's or a server's name; or owner/server"
    list_display = ("full_name", "label", "condition", "since", "seen", "address")
    list_display_links = ("full_name",)
    list_filter = (ConditionFilter, GroupFilter, UserFilter)
    list_select_related = ("user",)
    ordering = (RANK.asc(), "-id")
    sortable_by = ("condition", "since", "seen")
    exported = (
        *("full_name", "display_name", "condition", "started", "last_activity"),
        *("created", "failure"),
    )
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
        fields.append("opened")
        return fields

    def search(self, term: str) -> Q:
        owner, slash, name = term.partition("/")
        servers = Server.objects.order_by().values("pk")
        users = User.objects.filter(named(owner)).order_by()
        if slash:
            # The text may be the end of an owner's name and the beginning of a
            # server's.
            ends = Q(name__iendswith=owner) | Q(name=normalise_name(owner))
            found = servers.filter(
                user__in=users.filter(ends).values("pk"), name__istartswith=name
            )
        else:
            found = servers.filter(user__in=users.values("pk"))
        return Q(
            pk__in=servers.filter(contains(Server, term, *self.searched)).union(
                found, all=True
            )
        )

    # Bulk actions, on all matching rows if so chosen

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
            number = actions.start_servers(servers, by=Actor.of_request(request))
            if number < asked:
                return (
                    f"Starting {number} of {asked} servers. For the others the server "
                    "limit is reached, or you may not start them. Try again later."
                )
            return f"Starting {count_of(number, 'server')}."

        return self.ask(
            request,
            queryset.exclude(ACTIVE),
            scope="start:servers",
            verb="Start",
            warning="Each server starts with the options of its last start.",
            act=act,
        )

    @admin.action(description="Stop the selected servers", permissions=["stop"])
    def stop(self, request: Any, queryset: QuerySet[Server]) -> HttpResponse | None:
        def act(servers: QuerySet[Server]) -> str:
            number = actions.stop_servers(servers, by=Actor.of_request(request))
            return f"Stopping {count_of(number, 'server')}."

        return self.ask(
            request,
            queryset.filter(ACTIVE).exclude(pending="stop"),
            scope="delete:servers",
            verb="Stop",
            warning=LOST,
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
        """Confirm an action on the selected servers that its scope reaches."""
        reached = request.user.access.limit(scope, queryset=queryset)
        if not reached.order_by().exists():
            self.message_user(
                request,
                f"You can't {verb.lower()} any of these servers, or none needs it.",
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
        """Show a link to each running server: one click opens only one tab."""
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

    # Buttons on the page of a user and in the list of users

    def get_urls(self) -> list[Any]:
        start = self.admin_site.admin_view(self.start_view)
        stop = self.admin_site.admin_view(self.stop_view)
        return [
            path("of/<int:user>/start/", start, name="servers_server_start"),
            path("of/<int:user>/stop/", stop, name="servers_server_stop"),
            *super().get_urls(),
        ]

    def start_view(self, request: Any, user: int) -> HttpResponse:
        """Start a server, also a default server that was never used."""
        server = self.meant(request, user, "start:servers")
        if request.method == "POST":
            try:
                started, _ = actions.start_server(
                    server.user, server.name, by=Actor.of_request(request)
                )
            except Refusal as refusal:
                self.message_user(request, refusal.message, messages.ERROR)
            else:
                said = page_of("servers_server", started.pk, started)
                self.message_user(
                    request, format_html("Starting {}.", said), messages.SUCCESS
                )
        return self.back(request, server)

    def stop_view(self, request: Any, user: int) -> HttpResponse:
        """Stop a server after a confirmation, because unsaved work is lost."""
        server = self.meant(request, user, "delete:servers")
        if request.method != "POST":
            return self.back(request, server)
        if not request.POST.get("confirmed"):
            context = {
                **self.admin_site.each_context(request),
                "title": f"Stop {server}",
                "opts": self.opts,
                "number": 1,
                "noun": self.opts.verbose_name,
                "rows": [str(server)],
                "verb": "Stop",
                "warning": LOST,
                "unchanged": self.back(request, server)["Location"],
            }
            return TemplateResponse(request, "admin/confirm_action.html", context)
        servers = Server.objects.filter(user=server.user, name=server.name)
        if actions.stop_servers(servers, by=Actor.of_request(request)):
            self.message_user(request, f"Stopping {server}.", messages.SUCCESS)
        else:
            self.message_user(request, f"{server} does not run.", messages.WARNING)
        return self.back(request, server)

    def meant(self, request: Any, user: int, scope: str) -> Server:
        """Return the server of an address, if the scope reaches it."""
        name = request.GET.get("name", "")
        if "\0" in name:
            raise Http404
        server = Server.objects.filter(user=user, name=name).first()
        if server is None:
            owner = User.objects.filter(pk=user).first()
            if owner is None or name:
                raise Http404
            # Every user has a default server, whose row is created by the first start.
            server = Server(user=owner, name="")
        if not request.user.access.allows(scope, obj=server):
            raise PermissionDenied
        return server

    def back(self, request: Any, server: Server) -> HttpResponse:
        """Redirect to the page of the admin from which the action was requested."""
        place = reverse("admin:accounts_user_change", args=[server.user_id])
        asked = request.GET.get("back", "")
        inside = asked.startswith(reverse("admin:index")) and not re.search(
            r"[^!-~]|\\", asked
        )
        return HttpResponseRedirect(asked if inside else place)

    # Columns and fields

    @admin.display(description="Server")
    def full_name(self, server: Server) -> str:
        return str(server)

    @admin.display(description="Owner")
    def owner(self, server: Server) -> SafeString:
        return page_of("accounts_user", server.user_id, server.user.name)

    @admin.display(description="Name")
    def label(self, server: Server) -> str:
        return server.display_name or server.name or "(default)"

    @admin.display(description="Condition", ordering=RANK)
    def condition(self, server: Server) -> SafeString:
        return condition_label(server)

    @admin.display(description="Last failure")
    def why(self, server: Server) -> str:
        return Report.of(server).failure or DASH

    @admin.display(description="Exception")
    def exception(self, server: Server) -> SafeString:
        """The text of an unexpected exception, which people do not see."""
        return format_html("<pre>{}</pre>", server.failure_detail)

    @admin.display(description="Started", ordering=rising("started"))
    def since(self, server: Server) -> SafeString | str:
        return moment(server.started)

    @admin.display(description="Last activity", ordering=rising("last_activity"))
    def seen(self, server: Server) -> SafeString | str:
        return moment(server.last_activity, "never")

    @admin.display(description="Created")
    def made(self, server: Server) -> SafeString | str:
        return moment(server.created)

    @admin.display(description="Address")
    def address(self, server: Server) -> SafeString | str:
        # A path alone does not show whether anything answers there.
        if not server.ready:
            return DASH
        return format_html("<code>{}</code>", server.address)

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


def condition_label(server: Server) -> SafeString:
    if server.ready:
        words = "ready"
    elif server.pending:
        words = server.get_pending_display()
    else:
        words = "failed" if server.failure else "stopped"
    return format_html(
        '<span class="state {}">{}</span>', words.replace(" ", "-"), words
    )


def _as_json(value: Any) -> SafeString | str:
    if not value:
        return DASH
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html("<pre>{}</pre>", text)


def _lines(pairs: Any) -> SafeString | str:
    items = format_html_join("", "<li>{}: {}</li>", pairs)
    return format_html("<ul>{}</ul>", items) if items else DASH
