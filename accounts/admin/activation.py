"""Deactivation and activation of users."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse

from accounts import actions
from accounts.administrators import keep_administrator
from accounts.models import User
from audit.models import Actor
from scopes.refusals import Refusal
from web.admin_base import ScopedAdmin, ask_first

# Actions on accounts by the last part of the address.
ACTS = {"deactivate": actions.deactivate_users, "activate": actions.activate_users}


class ActivatingAdmin(ScopedAdmin):
    """Deactivates and activates one user, or the selected ones."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.set_active_view)
        return [
            *(
                path(f"<int:pk>/{act}/", view, {"act": act}, f"accounts_user_{act}")
                for act in ACTS
            ),
            *super().get_urls(),
        ]

    def settable(self, request: Any, queryset: QuerySet[User]) -> QuerySet[User]:
        """Keep the users whom the reader may deactivate and activate."""
        users = self.reachable(request, "change", queryset).exclude(pk=request.user.pk)
        return users if request.user.admin else users.filter(admin=False)

    def set_active(self, request: Any, users: QuerySet[User], act: str) -> str:
        """Do one of `ACTS` to users, and return a message with their number."""
        by, by_admin = Actor.of_request(request), request.user.admin
        number = ACTS[act](users, by=by, by_admin=by_admin, within=keep_administrator)
        return f"{act.capitalize()}d {number} user{'' if number == 1 else 's'}."

    def set_active_view(self, request: Any, pk: int, act: str) -> HttpResponse:
        user = self.get_object(request, str(pk))
        if user is None:
            raise Http404
        users = self.settable(request, User.objects.filter(pk=pk))
        if request.method != "POST" or not users.exists():
            raise PermissionDenied
        try:
            self.message_user(request, self.set_active(request, users, act))
        except Refusal as refusal:
            self.message_user(request, refusal.message, messages.ERROR)
        return HttpResponseRedirect(reverse("admin:accounts_user_change", args=[pk]))

    def ask_to_set_active(
        self, request: Any, queryset: QuerySet[User], act: str, warning: str
    ) -> HttpResponse | None:
        def perform(users: QuerySet[User]) -> str:
            return self.set_active(request, users, act)

        others = queryset.filter(is_active=act == "deactivate")
        users = self.settable(request, others)
        if others.exclude(pk__in=users.order_by().values("pk")).exists():
            warning += (
                " Your own account and accounts that you may not change are left "
                "out, because only administrators change administrators."
            )
        return ask_first(
            self,
            request,
            users,
            title=f"{act.capitalize()} users",
            verb=act.capitalize(),
            warning=warning,
            act=perform,
        )

    @admin.action(description="Deactivate the selected users", permissions=["change"])
    def deactivate_users(
        self, request: Any, queryset: QuerySet[User]
    ) -> HttpResponse | None:
        return self.ask_to_set_active(
            request,
            queryset,
            "deactivate",
            "Their sessions end, and they can't sign in nor use their tokens until "
            "they are activated again.",
        )

    @admin.action(description="Activate the selected users", permissions=["change"])
    def activate_users(
        self, request: Any, queryset: QuerySet[User]
    ) -> HttpResponse | None:
        return self.ask_to_set_active(
            request,
            queryset,
            "activate",
            "They can sign in and use their tokens again.",
        )
