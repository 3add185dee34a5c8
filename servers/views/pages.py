"""Base classes and functions of pages about one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render

from accounts.landing import carried_parameters, with_parameters
from accounts.mixins import SignedInMixin
from accounts.models import User
from scopes.access import Access
from scopes.refusals import Busy, Refusal
from servers.addresses import pending_path
from servers.models import Server
from servers.report import Report
from servers.rights import server_target
from web.deferred import Deferred
from web.hosts import local_path
from web.markup import html_or_text


def require_server_scope(access: Access, scope: str, owner: str, *names: str) -> User:
    """Return the owner if a scope reaches one of these servers, else raise `Http404`.

    So the page does not reveal whether a server of others, or a user, exists.
    """
    # No database stores this character, so no name contains it.
    if "\0" in "".join((owner, *names)):
        raise Http404
    if not any(access.allows(scope, obj=server_target(owner, name)) for name in names):
        raise Http404
    return get_object_or_404(User, name=owner)


def find_server(user: User, name: str) -> Server | None:
    """Return the server, or None; an unused default server has no row."""
    server = Server.objects.filter(user=user, name=name).first()
    if server is not None:
        server.user = user
    return server


def in_words(owner: str, label: str, *, is_own: bool) -> str:
    """Return the server's name for the middle of a sentence."""
    quoted = f" “{label}”" if label else ""
    return f"your server{quoted}" if is_own else f"the server{quoted} of {owner}"


class ServerPage(SignedInMixin):
    """A page about one server, for people who may start and stop it.

    The address contains owner and server, or the form that is sent to it does.
    """

    request: HttpRequest
    owner: User
    server_name: str

    def find(self, owner: str, name: str) -> None:
        """Set owner and server of this page, or raise `Http404`."""
        access = self.person.access
        self.owner = require_server_scope(access, "servers", owner, name)
        self.server_name = name

    @property
    def next_url(self) -> str:
        """The page to open once the server runs, if it is on this hub."""
        asked = self.request.GET.get("next") or self.request.POST.get("next", "")
        return local_path(self.request, asked)

    @property
    def pending_url(self) -> str:
        """The address of this server's progress page, with the query of this page."""
        path = pending_path(self.owner.name, self.server_name)
        carried = carried_parameters(self.request, "next", "display_name")
        if self.next_url:
            carried.append(("next", self.next_url))
        return f"{path}?{urlencode(carried, quote_via=quote)}" if carried else path

    def url_of(self, server: Server) -> str:
        """Return the address to open now that the server runs."""
        return self.next_url or with_parameters(self.request, server.address)

    @property
    def is_own(self) -> bool:
        return self.owner.pk == self.person.pk

    # Responses

    def go(self, path: str, *, status: int = 302) -> HttpResponse:
        response = HttpResponseRedirect(path)
        response.status_code = status
        return response

    def show(
        self, template: str, server: Server | None, *, status: int = 200, **more: Any
    ) -> HttpResponse:
        # The owner reads the display name, whatever name the address has.
        label = (server and server.display_name) or self.server_name
        context = {
            "owner": self.owner.name,
            "is_own": self.is_own,
            "which": in_words(self.owner.name, label, is_own=self.is_own),
            "server": server,
            "server_name": self.server_name,
            "next_url": self.next_url,
            "pending_url": self.pending_url,
            # Middleware has read the messages before a deferred page is made, so the
            # messages are taken out before.
            **({"messages": self.messages} if hasattr(self, "messages") else {}),
            **more,
        }
        return render(self.request, template, context, status=status)

    def show_failure(self, server: Server) -> HttpResponse:
        return self.show(
            "servers/failed.html",
            server,
            status=server.failure_status or 500,
            report=Report.of(server),
        )

    def refuse(
        self,
        refusal: Refusal,
        server: Server | None = None,
        template: str = "servers/refused.html",
        *,
        status: int = 0,
        **more: Any,
    ) -> HttpResponse:
        """Return the page with the reason why an action is refused."""
        status = status or refusal.status
        html_message = getattr(refusal, "html_message", "")
        more |= {
            "reason": html_or_text(html_message, refusal.for_people),
            "is_busy": isinstance(refusal, Busy),
        }
        response = self.show(template, server, status=status, **more)
        if isinstance(refusal, Busy) and refusal.retry_after is not None:
            response["Retry-After"] = str(refusal.retry_after)
        return response

    def later(self, waiting: Callable[[], Awaitable[HttpResponse]]) -> Deferred:
        """Return a response that is awaited on the event loop and holds no thread."""
        self.messages = list(messages.get_messages(self.request))
        return Deferred(waiting)
