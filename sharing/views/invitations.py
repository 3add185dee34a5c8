"""Invitations to servers of other users."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.generic import TemplateView

from accounts.mixins import SignedInMixin
from scopes.grammar import describe
from scopes.refusals import Invalid
from servers.models import ShareCode
from sharing.actions import accept_share_code, find_share_code
from web.hosts import local_path


class AcceptShareView(SignedInMixin, TemplateView):
    """The page on which an invitation to a server is accepted."""

    template_name = "sharing/accept_share.html"
    http_method_names = ["get", "post", "head", "options"]  # noqa: RUF012

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "code" not in request.GET:
            raise BadRequest("The link lacks its code.")
        try:
            invitation = self.find(request.GET["code"])
        except Http404:
            words = "This invitation has ended or is mistyped. Ask for a new one."
            return render(request, "404.html", {"explanation": words}, status=404)
        if invitation.server.user_id == request.user.pk:
            raise PermissionDenied(
                "This is your own server. Send the link to other people."
            )
        return super().get(request, invitation=invitation)

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            code = request.POST.get("code") or request.GET.get("code", "")
            invitation = self.find(code)
            accept_share_code(invitation, self.person, by=self.actor)
        except Http404:
            raise BadRequest("This invitation has expired or does not exist.") from None
        except Invalid as refusal:
            raise BadRequest(refusal.for_people) from None
        asked = request.POST.get("next") or request.GET.get("next", "")
        if not invitation.server.ready:
            # At a stopped server, people see only that the server is stopped.
            owner = invitation.server.user.name
            messages.success(
                request,
                f"You have accepted, and may use the server of {owner} as soon as it "
                "runs. You find it on the page Home.",
            )
        wanted = local_path(request, asked)
        return HttpResponseRedirect(wanted or invitation.server.address)

    def find(self, code: str) -> ShareCode:
        invitation = find_share_code(code, timezone.now())
        if invitation is None:
            raise Http404
        return invitation

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        invitation: ShareCode = kwargs["invitation"]
        return super().get_context_data(
            code=self.request.GET["code"],
            owner=invitation.server.user.name,
            server=invitation.server,
            # The page shows the server once for all permissions.
            permissions=[describe(scope) for scope in invitation.scopes],
            **kwargs,
        )
