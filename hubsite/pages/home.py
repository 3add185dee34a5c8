"""The page Home: a person's account and servers, and servers shared with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.generic import View

from accounts.mixins import SignedInMixin
from accounts.models import Role, User
from scopes.definitions import DEFAULT_ROLES
from scopes.refusals import Conflict, Refusal
from servers.access_log import opened_by_others, opened_server
from servers.addresses import delete_path, pending_path
from servers.controller_calls import NoAnswer, ask_async
from servers.forms import AddServerForm
from servers.limits import limit_of_names
from servers.models import Server
from servers.named_server_actions import create_server
from servers.rights import server_target
from tokens.models import APIToken
from web.deferred import Deferred

# Running servers are polled before they are shown, because one may have ended without
# notice; but the page does not wait for long.
POLL_SECONDS: Final = 2
NEWEST: Final = 5
SHARED: Final = 50


@dataclass(frozen=True, slots=True)
class Card:
    """A server with its actions on this page."""

    server: Server
    owner: str
    label: str
    can_manage: bool

    @property
    def pending_url(self) -> str:
        return pending_path(self.owner, self.server.name)

    @property
    def delete_url(self) -> str:
        return delete_path(self.server.name)


class HomeView(SignedInMixin, View):
    """The start page after sign-in, to start, open, stop and add servers."""

    http_method_names = ["get", "head", "post", "options"]  # noqa: RUF012

    def get(self, request: HttpRequest) -> HttpResponse:
        running = self.person.servers.filter(name="", ready=True).first()
        if running is None:
            return self.show()
        # Read now, while middleware can still store that they were shown.
        waiting = list(messages.get_messages(request))
        return Deferred(partial(self.show_when_polled, running.pk, waiting))

    async def show_when_polled(
        self, server_id: int, waiting: list[Any]
    ) -> HttpResponse:
        # Without a response the row is shown as it is.
        with suppress(NoAnswer):
            await ask_async("poll", POLL_SECONDS, server_id=server_id)
        return await asyncio.to_thread(self.show, messages=waiting)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Add a named server, stopped; people start it from the list."""
        form = AddServerForm(request.POST)
        if form.is_valid():
            label = form.cleaned_data["display_name"]
            target = server_target(self.person.name, form.server_name)
            if not self.person.access.allows("servers", obj=target):
                raise PermissionDenied("Your account may not start servers.")
            try:
                create_server(
                    self.person, form.server_name, display_name=label, by=self.actor
                )
            except Conflict:
                words = f"You already have a server “{form.server_name}”."
                form.add_error("display_name", f"{words} Choose another name.")
            except Refusal as refusal:
                form.add_error("display_name", refusal.for_people)
            else:
                messages.success(request, f"Added the server “{label}”.")
                return redirect("home")
        return self.show(form=form, status=400)

    def show(
        self, *, form: AddServerForm | None = None, status: int = 200, **more: Any
    ) -> HttpResponse:
        context = {
            **self.servers(),
            **self.account(),
            "form": form or AddServerForm(),
            **more,
        }
        return render(self.request, "home.html", context, status=status)

    def servers(self) -> dict[str, Any]:
        """Return the data of servers, the person's own and others'."""
        user = self.person
        by_name = {server.name: server for server in user.servers.order_by("name")}
        default = by_name.pop("", None) or Server(user=user)
        named = sorted(by_name.values(), key=lambda each: label_of(each).lower())
        limit = limit_of_names(self.actor)
        openings = list(opened_by_others(user)[:NEWEST])
        return {
            "mine": self.card(default),
            "named": [self.card(server) for server in named],
            "may_name": settings.HUB.allow_named_servers,
            "limit": limit,
            "has_room": limit <= 0 or len(named) < limit,
            "is_moving": any(server.pending for server in (default, *named)),
            "shared": self.shared(),
            "openings": [
                {
                    "who": act.actor_name,
                    "is_service": act.actor_kind == "service",
                    "label": label_of(by_name.get(name)) or name,
                    "at": act.at,
                }
                for act in openings
                for name in (opened_server(act),)
            ],
        }

    def card(self, server: Server) -> Card:
        user = self.person
        server.user = user
        target = server_target(user.name, server.name)
        can_manage = user.access.allows("servers", obj=target)
        return Card(server, user.name, label_of(server), can_manage)

    def shared(self) -> list[Server]:
        """Return the servers that others shared with the person, running ones first."""
        user = self.person
        shares = Q(shares__user=user) | Q(shares__group__users=user)
        found = Server.objects.filter(shares).exclude(user=user).distinct()
        found = found.select_related("user").order_by("-ready", "user__name", "name")
        reached = user.access.limit("access:servers", queryset=found)
        return list(reached[:SHARED])

    def account(self) -> dict[str, Any]:
        """Return the data of the account."""
        user = self.person
        # Tokens of applications are on the page of tokens, with their applications.
        # A server's own token can do no more than the server.
        tokens = (
            APIToken.objects.owned_by(user)
            .usable(timezone.now())
            .filter(client_id="", servers=None)
        )
        roles = roles_of(user)
        return {
            "groups": user.groups.order_by("name"),
            # The pages and links already show the rights of the built-in roles.
            "roles": [
                role
                for role in roles
                if getattr(role, "via", "") or role.name not in DEFAULT_ROLES
            ],
            "has_role": bool(roles),
            "tokens": tokens.order_by("-created")[:3],
            "token_count": tokens.count(),
            "can_read_tokens": user.access.allows("read:tokens", obj=user),
            "can_request_token": user.access.allows("tokens", obj=user),
        }


def label_of(server: Server | None) -> str:
    """Return the label of a server; nothing for a default one."""
    return server.display_name or server.name if server else ""


def roles_of(user: User) -> list[Role]:
    """Return all roles of a person; `via` is the group of an inherited role."""
    roles = {role.pk: role for role in user.roles.all()}
    for role in roles.values():
        role.via = ""  # type: ignore[attr-defined]
    for group in user.groups.prefetch_related("roles"):
        for role in group.roles.all():
            if role.pk not in roles:
                role.via = group.name  # type: ignore[attr-defined]
                roles[role.pk] = role
    return sorted(roles.values(), key=lambda role: role.name)
