"""The response at a stopped server's address, and `/user-redirect/`."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    QueryDict,
)
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from accounts.mixins import SignedInMixin, redirect_to_login
from accounts.models import User
from scopes.access import Access
from scopes.refusals import Forbidden
from servers.addresses import pending_path, spawn_path
from servers.models import Server, server_path
from servers.rights import server_target
from servers.views.pages import find_server, in_words, require_server_scope
from tokens.authentication import TokenAuthentication
from tokens.networks import WrongNetwork
from web.deferred import Deferred
from web.hosts import origin_of, user_origin
from web.paths import decoded_once, spelt_address, spelt_path

logger = logging.getLogger(__name__)

# Most redirects to a ready server; browsers stop later.
REDIRECTS: Final = 4


@method_decorator(csrf_exempt, name="dispatch")
class StoppedServerView(View):
    """The response at the address of a server that does not run.

    The proxy sends requests for servers without a route to the hub, which redirects
    them here. Programs get 424 as JSON, people a page with a button to start the
    server. If the server runs by now, the browser is redirected to it.
    """

    def dispatch(
        self, request: HttpRequest, owner: str, rest: str = ""
    ) -> HttpResponse:
        try:
            presented = TokenAuthentication().authenticate(request)
        except WrongNetwork as refusal:
            raise PermissionDenied(refusal.message) from None
        if request.method not in ("GET", "HEAD", "POST", "PATCH", "DELETE"):
            if presented is None and request.method != "OPTIONS":
                self.require_own_script(request)
            context = {"code": 405, "title": "Method not allowed"}
            return render(request, "error.html", context, status=405)
        if request.method not in ("GET", "HEAD"):
            # The response depends on nothing but the address, and reveals nothing else.
            if presented is None:
                self.require_own_script(request)
            return self.answer_program(request, owner, "")
        if presented is not None:
            access = presented[1].access
        elif not request.user.is_authenticated:
            return redirect_to_login(request)
        else:
            access = request.user.access
        first = rest.partition("/")[0]
        try:
            user, name = self.require_access(access, owner, first)
        except Http404:
            if presented is None or isinstance(presented[1].owner, User):
                raise
            # A service reads no pages; JupyterHub sends services nothing but the
            # status.
            return HttpResponse(status=404)
        return self.answer(request, access, user, name, rest)

    def require_access(
        self, access: Access, owner: str, first: str
    ) -> tuple[User, str]:
        """Return the server of the address, or raise `Http404`.

        It may be another server of the same user, because access may include that.
        """
        user = require_server_scope(access, "access:servers", owner, "", first)
        name = self.server_name(user, first)
        if not access.allows("access:servers", obj=server_target(user.name, name)):
            raise Http404
        return user, name

    def require_own_script(self, request: HttpRequest) -> None:
        """Refuse requests that no page of the hub sent for a signed-in user."""
        try:
            request.check_xsrf()  # type: ignore[attr-defined]
        except Forbidden as refusal:
            raise PermissionDenied(refusal.message) from None
        if not request.user.is_authenticated:
            raise PermissionDenied("Sign in first.")

    def server_name(self, user: User, first: str) -> str:
        """Return a server's name from a path within the default server."""
        named = (
            settings.HUB.allow_named_servers
            and first
            and Server.objects.filter(user=user, name=first).exists()
        )
        return first if named else ""

    @property
    def status(self) -> int:
        return 503 if settings.HUB.use_legacy_stopped_server_status_code else 424

    @property
    def asked_for(self) -> str:
        """The requested path and query."""
        return spelt_address(self.request)

    @property
    def address(self) -> str:
        """The requested address, without the hub's own prefix."""
        base = settings.HUB.base_url
        return self.asked_for.replace(f"{base}hub/", base, 1)

    def answer(
        self, request: HttpRequest, access: Access, user: User, name: str, rest: str
    ) -> HttpResponse:
        server = find_server(user, name) or Server(user=user, name=name)
        if server.ready:
            return self.send_back(server)
        types = ["text/html", "application/json"]
        wants_json = request.get_preferred_type(types) == types[1]
        if wants_json or "api" in rest.split("/"):
            return self.answer_program(request, user.name, name)
        can_start = access.allows("servers", obj=server_target(user.name, name))
        if can_start and (server.pending or server.failure):
            # JupyterHub's redirect, which leads back to this page.
            path = pending_path(user.name, name, self.asked_for)
            return HttpResponse(status=303, headers={"Location": path})
        context = {
            "status": self.status,
            "owner": user.name,
            "which": in_words(
                user.name, server.display_name or name, is_own=user == request.user
            ),
            "can_start": can_start,
            "server": server,
            "start_url": spawn_path(user.name, name, self.address),
            "implicit_spawn_seconds": settings.HUB.implicit_spawn_seconds,
        }
        return render(request, "servers/stopped.html", context, status=self.status)

    def send_back(self, server: Server) -> HttpResponse:
        """Redirect to a ready server, after longer and longer waits.

        The proxy may not have the route yet. After many redirects an error page says
        that the proxy lacks the route.
        """
        path, _, query = self.address.partition("?")
        parameters = QueryDict(query, mutable=True)
        count = parameters.get("redirects", "")
        redirects = int(count) if count.isdecimal() and len(count) < 3 else 0
        if redirects >= REDIRECTS:
            logger.warning(
                "The proxy does not lead to a server that is ready: %s", path
            )
            context = {
                "code": 500,
                "title": "Redirect loop detected.",
                "explanation": "The server is running, but its address leads back "
                "here. Wait a minute and open it again from the page Home.",
            }
            return render(self.request, "error.html", context, status=500)
        parameters["redirects"] = str(redirects + 1)
        origin = user_origin(server.user.name)
        target = f"{origin}{path}?{parameters.urlencode(safe='/')}"
        if not redirects:
            return HttpResponseRedirect(target)
        return Deferred(partial(redirect_after, min(2**redirects, 10), target))

    def answer_program(
        self, request: HttpRequest, owner: str, name: str
    ) -> HttpResponse:
        start = f"{origin_of(request)}{spawn_path(owner, name)}"
        # As JupyterHub's clients expect it: below the base URL, without the query.
        path = self.address.partition("?")[0].removeprefix(settings.HUB.base_url)
        message = (
            f"JupyterHub server no longer running at /{path}. "
            f"Restart the server at {start}"
        )
        return JsonResponse({"message": message}, status=self.status)


async def redirect_after(seconds: float, target: str) -> HttpResponse:
    await asyncio.sleep(seconds)
    return HttpResponseRedirect(target)


class UserRedirectView(SignedInMixin, View):
    """An address that redirects each user to the same path on their own server."""

    def get(self, request: HttpRequest, rest: str = "") -> HttpResponse:
        name = settings.HUB.default_server_name
        beginning = f"{settings.HUB.base_url}hub/user-redirect/"
        place = decoded_once(spelt_path(request).removeprefix(beginning))
        target = server_path(self.person.name, name) + place.lstrip("/")
        if name and not rest:
            # JupyterHub's form of the address; the server itself adds the slash.
            target = target.rstrip("/")
        if query := request.META.get("QUERY_STRING"):
            target += f"?{query}"
        return HttpResponseRedirect(spawn_path(self.person.name, name, target))
