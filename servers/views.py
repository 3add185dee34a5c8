"""Pages about servers: stopped ones, the way to one's own, and shared ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import TemplateView, View

from accounts.adapter import local_path
from accounts.mixins import SignedInMixin, redirect_to_login
from accounts.models import User
from scopes.access import Access
from scopes.grammar import describe
from scopes.refusals import Forbidden, Invalid
from servers.models import Server, ShareCode
from servers.rights import server_target
from servers.sharing import accept_share_code, find_share_code
from tokens.authentication import TokenAuthentication


def hub_path(*parts: str) -> str:
    """Return an address below the hub's own part, each part escaped."""
    escaped = "/".join(quote(part, safe="@") for part in parts)
    return f"{settings.HUB.base_url}hub/{escaped}"


def spawn_path(owner: str, name: str, next_url: str = "") -> str:
    """Return where to start a server, and with it where to go once it runs."""
    path = hub_path("spawn", owner, *([name] if name else []))
    return f"{path}?next={quote(next_url, safe='')}" if next_url else path


def require_server_scope(access: Access, scope: str, owner: str, *names: str) -> User:
    """Return the owner if a scope reaches one of these servers, else raise `Http404`.

    Nobody learns whether a server of others, or a user, exists.
    """
    # No database stores this character, so nothing has such a name.
    if "\0" in "".join((owner, *names)):
        raise Http404
    if not any(access.allows(scope, obj=server_target(owner, name)) for name in names):
        raise Http404
    return get_object_or_404(User, name=owner)


@method_decorator(csrf_exempt, name="dispatch")
class StoppedServerView(View):
    """What stands where a server would answer, if it ran.

    The proxy sends requests for servers without a route to the hub, which leads
    them here. Programs get 424 as JSON, people a page with a way to start it.
    """

    def dispatch(
        self, request: HttpRequest, owner: str, rest: str = ""
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD", "POST", "PATCH", "DELETE"):
            context = {"code": 405, "title": "Servers are not asked like this"}
            return render(request, "error.html", context, status=405)
        presented = TokenAuthentication().authenticate(request)
        if request.method not in ("GET", "HEAD"):
            # The answer depends on nothing but the address, and tells nothing else.
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
        user = require_server_scope(access, "access:servers", owner, "", first)
        return self.answer(request, access, user, rest)

    def require_own_script(self, request: HttpRequest) -> None:
        """Refuse what a page of ours did not send for somebody who is signed in."""
        try:
            request.check_xsrf()  # type: ignore[attr-defined]
        except Forbidden as refusal:
            raise PermissionDenied(refusal.message) from None
        if not request.user.is_authenticated:
            raise PermissionDenied("Sign in first.")

    def server_name(self, user: User, first: str) -> str:
        """Tell a server's name from the beginning of a path within the default one."""
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
    def address(self) -> str:
        """The path as it was asked for, outside of the hub's part."""
        base = settings.HUB.base_url
        return self.request.get_full_path().replace(f"{base}hub/", base, 1)

    def answer_program(
        self, request: HttpRequest, owner: str, name: str
    ) -> HttpResponse:
        start = request.build_absolute_uri(spawn_path(owner, name))
        message = (
            f"JupyterHub server no longer running at {self.address}. "
            f"Restart the server at {start}"
        )
        return JsonResponse({"message": message}, status=self.status)

    def answer(
        self, request: HttpRequest, access: Access, user: User, rest: str
    ) -> HttpResponse:
        name = self.server_name(user, rest.partition("/")[0])
        types = ["text/html", "application/json"]
        wants_json = request.get_preferred_type(types) == types[1]
        if wants_json or "api" in rest.split("/"):
            return self.answer_program(request, user.name, name)
        context = {
            "status": self.status,
            "owner": user.name,
            "can_start": access.allows("servers", obj=Server(user=user, name=name)),
            "server_name": name,
            "start_url": spawn_path(user.name, name, self.address),
        }
        return render(request, "servers/stopped.html", context, status=self.status)


class UserRedirectView(SignedInMixin, View):
    """An address that leads everybody to the same place on their own server."""

    def get(self, request: HttpRequest, rest: str = "") -> HttpResponse:
        name = settings.HUB.default_server_name
        own = f"{settings.HUB.base_url}user/{quote(self.person.name, safe='@')}/"
        if name:
            own += f"{quote(name, safe='@')}/"
        target = own + quote(rest, safe="/@")
        if query := request.META.get("QUERY_STRING"):
            target += f"?{query}"
        return HttpResponseRedirect(spawn_path(self.person.name, name, target))


class SpawnView(SignedInMixin, View):
    """Where one asks for a server to be started.

    Starting servers is not part of the hub yet, which is said on the way home.
    """

    def get(
        self, request: HttpRequest, owner: str, server_name: str = ""
    ) -> HttpResponse:
        require_server_scope(self.person.access, "servers", owner, server_name)
        messages.info(request, "This hub does not start servers yet.")
        return HttpResponseRedirect(hub_path("home"))


class AcceptShareView(SignedInMixin, TemplateView):
    """An invitation to use someone's server, to be accepted."""

    template_name = "servers/accept_share.html"
    http_method_names = ["get", "post", "head", "options"]  # noqa: RUF012

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "code" not in request.GET:
            raise BadRequest("The link lacks its code.")
        invitation = self.find(request.GET["code"])
        if invitation.server.user_id == request.user.pk:
            raise PermissionDenied(
                "This is your own server: send the link to whom you want to invite."
            )
        return super().get(request, invitation=invitation)

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            invitation = self.find(request.POST.get("code", ""))
            accept_share_code(invitation, self.person, by=self.actor)
        except Http404:
            raise BadRequest("This invitation has expired, or never was.") from None
        except Invalid as refusal:
            raise BadRequest(refusal.message) from None
        asked = request.POST.get("next") or request.GET.get("next", "")
        wanted = local_path(request, asked)
        return HttpResponseRedirect(wanted or invitation.server.path)

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
            # What it is limited to, the page says once for all of them.
            permissions=[describe(scope) for scope in invitation.scopes],
            **kwargs,
        )
