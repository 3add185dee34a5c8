"""The servers and shares of users, on the admin's pages of users."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import Count
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from accounts.admin.belongings import Belonging, belongings, besides, count_by
from accounts.models import User
from scopes.access import Access
from servers.admin.servers import LINKS, condition_label
from servers.models import Server, Share
from web.admin_base import link, page_of, shows_one

# Servers beside one user in the admin.
NAMED = 20


def beside(request: Any, users: Collection[User]) -> dict[int, SafeString]:
    """Show the servers of users, with buttons.

    In a list that is the default server, one more that runs, and the number of others;
    on the page of one user all servers.
    """
    access = request.user.access
    if not access.has("read:servers", "start:servers"):
        return {}
    ids = [user.pk for user in users]
    seen = access.limit("read:servers", queryset=Server.objects.filter(user__in=ids))
    found: dict[int, list[Server]] = {pk: [] for pk in ids}
    for server in seen.order_by("name")[:LINKS]:
        found[server.user_id].append(server)
    alone = shows_one(request)
    shown = {}
    for user in users:
        mine = found[user.pk]
        for server in mine:
            server.user = user
        if not mine or mine[0].name:
            mine.insert(0, Server(user=user))
        # The default server, then running servers.
        mine[1:] = sorted(mine[1:], key=lambda server: not server.is_active)
        running = len(mine) > 1 and mine[1].is_active
        limit = NAMED if alone else 1 + running
        parts = [_line(request, server, alone) for server in mine[:limit]]
        if (more := len(mine) - limit) > 0:
            said = f"and {more} more"
            parts.append(link("servers_server_changelist", said, user=user.name))
        inner = format_html_join("", "{}", ((part,) for part in parts if part))
        if inner:
            shown[user.pk] = format_html('<span class="servers">{}</span>', inner)
    return shown


def _line(request: Any, server: Server, alone: bool) -> SafeString | str:
    """Show one server: its state, and the buttons for the possible actions."""
    access, parts = request.user.access, []
    if server.pk is None:
        if not access.allows("start:servers", obj=server):
            return ""
        named = "default " if alone else ""
        parts.append(
            format_html('{}<span class="state">{}</span>', named, "never started")
        )
    else:
        label = condition_label(server)
        if alone or server.name:
            name = server.display_name or server.name or "default"
            named = page_of("servers_server", server.pk, name)
            parts.append(format_html("{} ", named))
        parts.append(label)
    query = urlencode({"name": server.name, "back": request.get_full_path()})

    def button(act: str, words: str) -> SafeString:
        where = reverse(f"admin:servers_server_{act}", args=[server.user_id])
        return format_html(
            '<button type="submit" class="small secondary outline" formmethod="post" '
            'formaction="{}?{}">{}<span class="visually-hidden"> the server {}</span>'
            "</button>",
            *(where, query, words, server),
        )

    if server.ready and access.allows("access:servers", obj=server):
        parts.append(
            format_html(
                '<a role="button" class="small secondary" href="{}" target="_blank" '
                'rel="noopener">Open<span class="visually-hidden"> the server {} in a '
                "new tab</span></a>",
                *(server.path, server),
            )
        )
    if not server.is_active and access.allows("start:servers", obj=server):
        parts.append(button("start", "Start"))
    stoppable = server.is_active and server.pending != Server.Pending.STOP
    if stoppable and access.allows("delete:servers", obj=server):
        parts.append(button("stop", "Stop…"))
    inner = format_html_join(" ", "{}", ((part,) for part in parts))
    return format_html('<span class="server">{}</span>', inner)


def _shares(ids: list[int], access: Access | None) -> dict[int, int]:
    """Count the shares of and with users, which are deleted with the users."""
    shares = Share.objects.order_by()
    if access is not None:
        shares = access.limit("read:shares", queryset=shares)
    numbers: dict[int, int] = {}
    given = shares.filter(server__user__in=ids).values_list("server__user")
    taken = shares.filter(user__in=ids).exclude(server__user__in=ids)
    for counted in (given, taken.values_list("user")):
        for pk, number in counted.annotate(Count("pk")):
            numbers[pk] = numbers.get(pk, 0) + number
    return numbers


SERVERS = count_by(Server.objects.all(), "read:servers")

belongings += [
    Belonging("server", SERVERS, "servers_server_changelist"),
    Belonging("share", _shares),
]

besides.append(beside)
