"""The page that shows the progress of a start or stop, and its result."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from servers.addresses import progress_path, spawn_path
from servers.models import Server
from servers.report import Report
from servers.views.pages import ServerPage, find_server


@method_decorator(never_cache, name="dispatch")
class PendingView(ServerPage, View):
    """Shows the state of a server; a GET request changes nothing."""

    http_method_names = ["get", "head", "options"]  # noqa: RUF012

    def get(
        self, request: HttpRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        self.find(owner, server_name)
        server = find_server(self.owner, server_name)
        if server is None and server_name:
            raise Http404
        if server is not None and server.ready:
            return self.go(self.url_of(server))
        if server is not None and server.pending == Server.Pending.STOP:
            return self.show("servers/stopping.html", server)
        if server is not None and server.pending:
            return self.show_start(server)
        if server is not None and server.failure:
            return self.show_failure(server)
        start_url = spawn_path(self.owner.name, server_name, self.next_url)
        return self.show(
            "servers/stopped.html", server, can_start=True, start_url=start_url
        )

    def show_start(self, server: Server) -> HttpResponse:
        return self.show(
            "servers/starting.html",
            server,
            report=Report.of(server),
            progress_url=progress_path(self.owner.name, server.name),
        )
