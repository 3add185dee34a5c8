"""Pages that start servers: with options from a form, or at once.

Only the controller has the spawner and its form. So each page here waits for a call to
the controller, and then for a moment for the result of the start.
"""

from __future__ import annotations

import asyncio
import base64
from functools import partial
from typing import Any, Final

from csp.constants import SELF, UNSAFE_INLINE
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from scopes.refusals import Invalid, Refusal
from servers.actions import AlreadyRunning, require_startable, start_server
from servers.addresses import spawn_path
from servers.controller_calls import NoAnswer, ask_async
from servers.models import Server
from servers.views.pages import ServerPage, find_server
from servers.waiting import until_settled

# The first call makes the controller import the spawner, which may take a while.
ANSWER_SECONDS: Final = 30
POLL_SECONDS: Final = 2
# A result within this time is shown at once; otherwise the browser is sent to the page
# that shows the progress.
SETTLE_SECONDS: Final = 1

PREFIX: Final = "opt-"
# Parameters of an address besides options.
RESERVED: Final = frozenset({"next", "display_name", "_xsrf"})

# The operator of the hub writes the form. As in JupyterHub, the form may have inline
# scripts and styles; a nonce would forbid them, whatever else is allowed.
FORM_POLICY: Final = {
    directive: [SELF, UNSAFE_INLINE, *settings.TEMPLATE_SITES.get(directive, ())]
    for directive in ("script-src", "style-src")
}

Fields = dict[str, list[str]]


class Refused(Invalid):
    """The site's own code refuses a start; the controller returned the reason."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["error"])
        self.html_message = str(answer.get("html") or "")
        self.status = int(answer.get("status") or 500)


class FormMissing(Refused):
    """The form of options can't be made."""


class Start(ServerPage, View):
    """A way to start a server."""

    display_name = ""

    async def start(
        self, options: dict[str, Any] | None = None, *, form: str | None = None
    ) -> HttpResponse:
        """Start the server, and redirect to the page that shows the progress.

        A refusal is shown in the form, if a form was filled in.
        """
        try:
            server, _ = await asyncio.to_thread(
                start_server,
                self.owner,
                self.server_name,
                user_options=options,
                display_name=self.display_name,
                by=self.actor,
            )
        except AlreadyRunning as refusal:
            return self.go(self.url_of(refusal.server))
        except Refusal as refusal:
            if form is None:
                form = await self.ask_for_form()
            if not form:
                return await asyncio.to_thread(self.refuse, refusal)
            return await asyncio.to_thread(self.show_form, form, refusal)
        settled = await until_settled(server.pk, server.generation, SETTLE_SECONDS)
        if settled is not None and settled.failure:
            settled.user = self.owner
            return await asyncio.to_thread(self.show_failure, settled)
        return self.go(self.pending_url)

    async def ask(self, kind: str, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await ask_async(
            kind,
            ANSWER_SECONDS,
            owner=self.owner.name,
            server_name=self.server_name,
            **more,
        )
        return answer

    async def ask_for_form(self) -> str:
        answer = await self.ask("options_form")
        if "error" in answer:
            raise FormMissing(answer)
        return str(answer["form"] or "")

    async def start_with(self, fields: Fields, files: Any = None) -> HttpResponse:
        """Start with the options of a form, or show the errors in the form."""
        if holds_nul([fields, files]):
            refusal = Invalid("The options hold a NUL character, which can't be kept.")
            return await asyncio.to_thread(self.refuse, refusal)
        answer = await self.ask("options_from_form", fields=fields, files=files or {})
        if "options" in answer:
            return await self.start(answer["options"])
        refusal = Refused(answer)
        form = await self.ask_for_form()
        if not form:
            refuse = partial(self.refuse, refusal, status=refusal.status)
            return await asyncio.to_thread(refuse)
        return await asyncio.to_thread(self.show_form, form, refusal, refusal.status)

    async def is_dead(self, server: Server) -> bool:
        """Whether a server has ended whose row says that it runs."""
        try:
            answer = await ask_async("poll", POLL_SECONDS, server_id=server.pk)
        except NoAnswer:
            return False
        return not answer["alive"]

    async def unless_unanswered(self, waiting: Any) -> HttpResponse:
        try:
            return await waiting
        except NoAnswer:
            return await asyncio.to_thread(self.show_silence)
        except FormMissing as failure:
            refuse = partial(self.refuse, failure, status=failure.status)
            return await asyncio.to_thread(refuse)

    # Responses

    def show_form(
        self, form: str, refusal: Refusal | None = None, status: int = 0
    ) -> HttpResponse:
        server = find_server(self.owner, self.server_name)
        more: dict[str, Any] = {"form": form, "jhdata": self.jhdata()}
        if refusal is None:
            response = self.show("servers/options.html", server, **more)
        else:
            response = self.refuse(
                refusal, server, "servers/options.html", status=status, **more
            )
        response["Content-Security-Policy"] = build_policy(replace=FORM_POLICY)
        return response

    def jhdata(self) -> dict[str, Any]:
        """The object `jhdata` for scripts in forms, as on JupyterHub's pages."""
        base = settings.HUB.base_url
        return {
            "base_url": f"{base}hub/",
            "prefix": base,
            "user": self.person.name,
            "admin_access": False,
            "options_form": True,
        }

    def show_silence(self) -> HttpResponse:
        server = find_server(self.owner, self.server_name)
        return self.show("servers/silence.html", server, status=503)


@method_decorator(never_cache, name="dispatch")
class SpawnView(Start):
    """Shows the form of options and starts with them; without a form starts at once.

    A GET request may start a server, because JupyterHub's clients rely on that.
    """

    http_method_names = ["get", "post", "options"]  # noqa: RUF012

    def find_or_name(self, owner: str, server_name: str) -> Server | None:
        """Return the server; the address may contain the display name of a new one."""
        self.find(owner or self.person.name, server_name)
        server = find_server(self.owner, server_name)
        if server is None:
            self.display_name = self.request.GET.get("display_name", "")
        return server

    def require_startable(self) -> None:
        require_startable(self.owner, self.server_name, self.display_name, self.actor)

    def get(
        self, request: HttpRequest, owner: str = "", server_name: str = ""
    ) -> HttpResponse:
        server = self.find_or_name(owner, server_name)
        if server is not None and server.pending:
            return self.go(self.pending_url)
        try:
            self.require_startable()
        except Refusal as refusal:
            return self.refuse(refusal, server)
        return self.later(
            partial(self.unless_unanswered, self.begin(server, asked_options(request)))
        )

    async def begin(self, server: Server | None, options: Fields) -> HttpResponse:
        if server is not None and server.ready and not await self.is_dead(server):
            return self.go(self.url_of(server))
        if PREFIX in self.request.GET:
            refusal = Invalid(f"An option needs a name: {PREFIX}")
            return await asyncio.to_thread(self.refuse, refusal, server, status=422)
        if options:
            return await self.start_with(options)
        form = await self.ask_for_form()
        if form:
            return await asyncio.to_thread(self.show_form, form)
        return await self.start()

    def post(
        self, request: HttpRequest, owner: str = "", server_name: str = ""
    ) -> HttpResponse:
        server = self.find_or_name(owner, server_name)
        if server is not None and server.is_active:
            state = f"pending {server.pending}" if server.pending else "already running"
            return self.refuse(Invalid(f"{server.label} is {state}"), server)
        try:
            self.require_startable()
        except Refusal as refusal:
            return self.refuse(refusal, server)
        fields = {key: values for key, values in request.POST.lists() if key != "_xsrf"}
        return self.later(
            partial(
                self.unless_unanswered, self.start_with(fields, sent_files(request))
            )
        )


class StartView(Start):
    """The button that starts a server, or opens the form with its options."""

    http_method_names = ["post", "options"]  # noqa: RUF012

    def post(self, request: HttpRequest) -> HttpResponse:
        owner = request.POST.get("owner") or self.person.name
        self.find(owner, request.POST.get("server_name", ""))
        return self.later(partial(self.unless_unanswered, self.begin()))

    async def begin(self) -> HttpResponse:
        if await self.ask_for_form():
            return self.go(spawn_path(self.owner.name, self.server_name, self.next_url))
        return await self.start(form="")


def asked_options(request: HttpRequest) -> Fields:
    """Read options from an address: those with the prefix, or else all others.

    Older links have no prefix; parameters without the prefix beside others with it are
    no options.
    """
    found = {key: values for key, values in request.GET.lists() if key not in RESERVED}
    prefixed = {
        key.removeprefix(PREFIX): values
        for key, values in found.items()
        if key.startswith(PREFIX)
    }
    return prefixed or found


def holds_nul(value: Any) -> bool:
    """Return whether a text in lists and dictionaries contains NUL."""
    if isinstance(value, dict):
        return any(map(holds_nul, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(holds_nul, value))
    return isinstance(value, str) and "\0" in value


def sent_files(request: HttpRequest) -> dict[str, list[dict[str, str]]]:
    """Return uploaded files in a form for JSON."""
    return {
        key: [
            {
                "filename": file.name or "",
                # Tornado's names.
                "content_type": file.content_type or "application/unknown",
                "body": base64.b64encode(file.read()).decode(),
            }
            for file in files
        ]
        for key, files in request.FILES.lists()
    }
