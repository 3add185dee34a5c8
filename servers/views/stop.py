"""The pages that stop a server and delete one."""

from __future__ import annotations

from functools import partial
from typing import Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.generic import View

from scopes.refusals import Refusal
from servers.actions import stop_server
from servers.addresses import pending_path
from servers.models import Server
from servers.views.pages import ServerPage, find_server
from servers.waiting import until_settled

# A stop within this time is shown as done at once.
SETTLE_SECONDS: Final = 1


class StopView(ServerPage, View):
    """Stops a running or a starting server."""

    http_method_names = ["post", "options"]  # noqa: RUF012

    def post(self, request: HttpRequest) -> HttpResponse:
        owner = request.POST.get("owner") or self.person.name
        self.find(owner, request.POST.get("server_name", ""))
        try:
            server = stop_server(self.owner, self.server_name, by=self.actor)
        except Refusal as refusal:
            return self.refuse(refusal, find_server(self.owner, self.server_name))
        if server is None:
            return self.go_back()
        return self.later(partial(self.wait, server))

    async def wait(self, server: Server) -> HttpResponse:
        await until_settled(server.pk, server.generation, SETTLE_SECONDS)
        return self.go_back()

    def go_back(self) -> HttpResponse:
        """Redirect to the page with this server: home for the user's own."""
        home = reverse("home")
        elsewhere = pending_path(self.owner.name, self.server_name)
        return self.go(home if self.is_own else elsewhere, status=303)


class DeleteView(ServerPage, View):
    """Confirms and does the deletion of one of the user's named servers."""

    http_method_names = ["get", "post", "head", "options"]  # noqa: RUF012

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show("servers/delete.html", self.require(request.GET))

    def post(self, request: HttpRequest) -> HttpResponse:
        server = self.require(request.POST)
        try:
            left = stop_server(self.owner, server.name, remove=True, by=self.actor)
        except Refusal as refusal:
            return self.refuse(refusal, server)
        label = server.display_name or server.name
        if left is None:
            messages.success(request, f"Deleted the server “{label}”.")
        else:
            messages.info(
                request, f"The server “{label}” is being stopped and then deleted."
            )
        return self.go(reverse("home"), status=303)

    def require(self, sent: dict[str, str]) -> Server:
        name = sent.get("server_name", "")
        self.find(self.person.name, name)
        server = find_server(self.owner, name) if name else None
        if server is None:
            raise Http404
        return server
