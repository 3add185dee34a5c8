"""Links with which users set a password."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path

from accounts import actions
from accounts.models import User
from accounts.rights import members_among
from audit.models import Actor
from web.admin_base import ScopedAdmin
from web.hosts import origin_of


class InvitingAdmin(ScopedAdmin):
    """Creates the link with which a user sets a password."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.invite_view)
        return [
            path("<int:pk>/invite/", view, name="accounts_user_invite"),
            *super().get_urls(),
        ]

    def may_invite(self, request: Any, user: User) -> bool:
        """Return whether the reader may create a sign-in link for that user.

        The link gives the same access as a token for that user, so it needs the same
        scope, under the same rule about filters. It is useful only if the hub itself
        stores passwords. Passwords of administrators are for administrators.
        """
        return (
            settings.HUB.authenticator_class == "local"
            and (request.user.admin or not actions.is_administrator(user))
            and self.has_change_permission(request, user)
            and request.user.access.allows("tokens", obj=user)
            and (
                user.pk == request.user.pk
                or request.user.access.may_hand_out(
                    user.scopes_beyond_role_user, "tokens", members_among
                )
            )
        )

    def invite_view(self, request: Any, pk: int) -> HttpResponse:
        """Create a link to set a password, and show it in this response only."""
        user = self.get_object(request, str(pk))
        if user is None:
            raise Http404
        if request.method != "POST" or not self.may_invite(request, user):
            raise PermissionDenied
        link = actions.invite_user(
            user, by=Actor.of_request(request), by_admin=request.user.admin
        )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Link for {user.name}",
            "name": user.name,
            "link": f"{origin_of(request)}{link}",
        }
        response = TemplateResponse(
            request, "admin/accounts/user/invited.html", context
        )
        response["Cache-Control"] = "no-store"
        return response
