"""The page on which people share their servers, and leave those of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.generic import View

from accounts.mixins import SignedInMixin
from accounts.models import User
from accounts.naming import find_typed_user
from scopes.grammar import describe
from scopes.refusals import Forbidden, Refusal
from servers.addresses import hub_path
from servers.models import Server, Share, ShareCode
from sharing.actions import (
    find_recipient,
    grant_share,
    issue_share_code,
    revoke_share,
    revoke_share_codes,
)
from web.hosts import origin_of

# The most rows shown: shares on each page, and invitations in total.
SHARES: Final = 100
CODES: Final = 100

RIGHTS: Final = {
    "use": ("Use it", ["access:servers"]),
    "manage": ("Use it, start it and stop it", ["access:servers", "servers"]),
}
HOUR: Final = 3600
LIFETIMES: Final = (
    (str(HOUR), "1 hour"),
    (str(24 * HOUR), "1 day"),
    (str(7 * 24 * HOUR), "1 week"),
    (str(30 * 24 * HOUR), "30 days"),
)


class ServerForm(forms.Form):
    """The fields that both forms have in common."""

    may = forms.ChoiceField(
        label="They may", choices=[(key, words) for key, (words, _) in RIGHTS.items()]
    )

    @property
    def scopes(self) -> list[str]:
        return RIGHTS[self.cleaned_data["may"]][1]


class GrantForm(ServerForm):
    """The form to share with a person or group by name."""

    kind = forms.ChoiceField(
        label="Share with", choices=[("user", "a person"), ("group", "a group")]
    )
    recipient = forms.CharField(
        label="Name",
        max_length=255,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )
    field_order = ("kind", "recipient", "may")

    @property
    def recipient_name(self) -> str:
        """The name in the hub's spelling, if there is such a user."""
        name: str = self.cleaned_data["recipient"]
        user = find_typed_user(name) if self.cleaned_data["kind"] == "user" else None
        return user.name if user else name


class InviteForm(ServerForm):
    """The form for a link that gives access to everybody who has it."""

    expires_in = forms.ChoiceField(
        label="The link works for", choices=LIFETIMES, initial=str(24 * HOUR)
    )


@dataclass(slots=True)
class Card:
    """One server with its shares and invitations, and the forms to share it."""

    server: Server
    label: str
    shares: list[Share]
    codes: list[ShareCode]
    grant: GrantForm
    invite: InviteForm
    may_share: bool


class SharesView(SignedInMixin, View):
    """Shows the shares of the user's own servers, and those with the user."""

    http_method_names = ["get", "head", "options"]  # noqa: RUF012

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show()

    def show(
        self, form: forms.Form | None = None, name: str = "", *, status: int = 200
    ) -> HttpResponse:
        """Show the page, with the refused form of one server."""
        user = self.person
        access = user.access
        servers = {server.name: server for server in user.servers.order_by("name")}
        # Every user has a default server, whether it was used or not.
        servers.setdefault("", Server(user=user))
        reading = [
            server
            for server in servers.values()
            if access.allows("read:shares", obj=_owned(server, user))
        ]
        ids = [server.pk for server in reading if server.pk]
        page = self.page(Share.objects.filter(server__in=ids))
        codes = list(
            ShareCode.objects.active(timezone.now())
            .filter(server__in=ids)
            .order_by("-id")[:CODES]
        )
        cards = [
            self.card(
                server, page, codes, number, form if server.name == name else None
            )
            for number, server in enumerate(sorted(reading, key=_in_order))
        ]
        context = {
            "cards": cards,
            "page": page,
            "may_share": any(card.may_share for card in cards),
            "mine": self.shared_with_me(),
            "may_leave": access.allows("users:shares", obj=user),
            "base": hub_path("shares"),
        }
        return render(self.request, "sharing/shares.html", context, status=status)

    def card(
        self,
        server: Server,
        shares: Iterable[Share],
        codes: Iterable[ShareCode],
        number: int,
        form: forms.Form | None,
    ) -> Card:
        grant = form if isinstance(form, GrantForm) else GrantForm(auto_id=_id(number))
        invite = (
            form
            if isinstance(form, InviteForm)
            else InviteForm(auto_id=_id(f"{number}_link"))
        )
        if form is not None:
            form.auto_id = _id(number if form is grant else f"{number}_link")
        return Card(
            server=server,
            label=server.display_name or server.name or "Your server",
            shares=[
                _described(share) for share in shares if share.server_id == server.pk
            ],
            codes=[_described(code) for code in codes if code.server_id == server.pk],
            grant=grant,
            invite=invite,
            may_share=self.person.access.allows("shares", obj=server),
        )

    def page(self, shares: QuerySet[Share]) -> Page:
        ordered = shares.select_related("user", "group").order_by("server", "id")
        return Paginator(ordered, SHARES).get_page(self.request.GET.get("page"))

    def shared_with_me(self) -> list[Share]:
        """The shares of servers of others with this user by name."""
        if not self.person.access.allows("read:users:shares", obj=self.person):
            return []
        shares = Share.objects.filter(user=self.person).select_related("server__user")
        return [_described(share) for share in shares[:SHARES]]


class SharingActView(SharesView):
    """Base of the actions on a share, which redirect to the page."""

    http_method_names = ["post", "options"]  # noqa: RUF012

    def server(self, scope: str = "shares") -> Server:
        """Return the user's own server that the form names, or raise `Http404`."""
        name = self.request.POST.get("server", "")
        found = None if "\0" in name else self.person.servers.filter(name=name).first()
        if found is None and name:
            raise Http404
        server = _owned(found or Server(user=self.person), self.person)
        if not self.person.access.allows(scope, obj=server):
            raise Http404
        return server

    def number(self, field: str) -> int:
        text = self.request.POST.get(field, "")
        if not text.isdecimal() or len(text) > 18:
            raise Http404
        return int(text)

    def back(self, said: str) -> HttpResponse:
        messages.success(self.request, said)
        return HttpResponseRedirect(reverse("sharing:shares"), status=303)


class GrantView(SharingActView):
    """Shares a server with a person or a group."""

    def post(self, request: HttpRequest) -> HttpResponse:
        server = self.server()
        form = GrantForm(request.POST)
        if form.is_valid():
            data = form.cleaned_data
            try:
                recipient = find_recipient(
                    data["kind"], form.recipient_name, self.person.access
                )
                grant_share(
                    server,
                    recipient,
                    scopes=form.scopes,
                    by=self.actor,
                    access=self.person.access,
                )
            except Forbidden:
                form.add_error(
                    "recipient",
                    "Your account may not look up this name. Create a link instead "
                    "and send it to this person.",
                )
            except Refusal as refusal:
                form.add_error("recipient", refusal.for_people)
            else:
                return self.back(f"Shared with {recipient}.")
        return self.show(form, server.name, status=400)


class InviteView(SharingActView):
    """Makes a link that gives access to a server, and shows the link once."""

    def post(self, request: HttpRequest) -> HttpResponse:
        server = self.server()
        form = InviteForm(request.POST)
        if form.is_valid():
            try:
                invitation, code = issue_share_code(
                    server,
                    scopes=form.scopes,
                    expires_in=int(form.cleaned_data["expires_in"]),
                    by=self.actor,
                    access=self.person.access,
                )
            except Refusal as refusal:
                form.add_error("may", refusal.for_people)
            else:
                return self.show_link(_described(invitation), code)
        return self.show(form, server.name, status=400)

    def show_link(self, invitation: ShareCode, code: str) -> HttpResponse:
        path = f"{reverse('sharing:accept-share')}?code={code}"
        context = {
            "invitation": invitation,
            "link": f"{origin_of(self.request)}{path}",
        }
        response = render(self.request, "sharing/invited.html", context)
        response["Cache-Control"] = "no-store"
        return response


class RevokeView(SharingActView):
    """Deletes the share of a person or group in one of the user's servers."""

    def post(self, request: HttpRequest) -> HttpResponse:
        server = self.server()
        shares = Share.objects.select_related("server__user", "user", "group")
        share = shares.filter(pk=self.number("share"), server_id=server.pk).first()
        if share is not None:
            revoke_share(share, by=self.actor)
            return self.back(f"No longer shared with {share.recipient}.")
        return self.back("This share had already ended.")


class WithdrawView(SharingActView):
    """Deletes an invitation; shares that it gave remain."""

    def post(self, request: HttpRequest) -> HttpResponse:
        revoke_share_codes(self.server(), [self.number("code")], by=self.actor)
        return self.back("The link no longer works.")


class LeaveView(SharingActView):
    """Leaves a server that somebody shares with the user."""

    def post(self, request: HttpRequest) -> HttpResponse:
        if not self.person.access.allows("users:shares", obj=self.person):
            raise Http404
        shares = Share.objects.select_related("server__user", "user", "group")
        share = shares.filter(pk=self.number("share"), user=self.person).first()
        if share is not None:
            revoke_share(share, by=self.actor)
        return self.back("You have left the server.")


def _owned(server: Server, user: User) -> Server:
    """Set the owner on a server that was read without it, which saves a query."""
    server.user = user
    return server


def _in_order(server: Server) -> tuple[bool, str]:
    return server.name != "", server.name


def _id(number: int | str) -> str:
    return f"share_{number}_%s"


def _described(share: Any) -> Any:
    """Add descriptions of its permissions to a share or an invitation."""
    share.words = [describe(scope) for scope in share.scopes]
    return share
