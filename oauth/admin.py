"""OAuth clients in the admin: list, delete, and a secret for one without."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables

from accounts.rights import members_among
from audit.models import Actor
from database.search import contains
from oauth import actions
from oauth.models import OAuthClient
from scopes.grammar import describe
from scopes.refusals import Refusal
from services.models import Service
from tokens.models import APIToken
from web.admin_base import (
    CaseFilter,
    ScopedAdmin,
    ask_first,
    link,
    moment,
    or_dash,
    page_of,
)


class KindFilter(CaseFilter):
    title = "kind"
    parameter_name = "kind"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {
            "service": ("a service", Q(service__isnull=False)),
            "server": ("a notebook server", Q(service=None)),
        }


@admin.register(OAuthClient)
class OAuthClientAdmin(ScopedAdmin):
    """Services and servers create their clients; people can delete clients, and give
    the client of a service a new secret if it has none.
    """

    kind = "client"
    searched = ("identifier", "server")
    search_help_text = "Any part of a client id, or of the service's or owner's name"
    list_display = ("identifier", "stands_for", "redirect_uri", "held", "since")
    list_filter = (KindFilter,)
    list_select_related = ("service", "secret")
    ordering = ("-id",)
    sortable_by = ()
    exported = ("identifier", "stands_for", "redirect_uri", "created")
    actions = ("end",)
    fields = (
        *("identifier", "stands_for", "description", "redirect_uri", "may_ask"),
        *("unasked", "secret_is", "can_sign_in", "held", "since"),
    )

    change_form_template = "admin/oauth/oauthclient/change_form.html"

    def get_queryset(self, request: Any) -> QuerySet[OAuthClient]:
        active = APIToken.objects.active(timezone.now()).order_by()
        mine = active.filter(client_id=OuterRef("identifier")).values("client_id")
        number = mine.annotate(number=Count("pk")).values("number")
        return super().get_queryset(request).annotate(tokens=Subquery(number))

    def has_delete_permission(
        self, request: Any, obj: OAuthClient | None = None
    ) -> bool:
        return False

    def has_end_permission(self, request: Any) -> bool:
        return request.user.access.has(*self.scopes("delete"))

    def search(self, term: str) -> Q:
        services = Service.objects.filter(
            contains(Service, term, "name", indexed=False)
        )
        return contains(OAuthClient, term, *self.searched) | Q(
            service__in=services.order_by().values("pk")
        )

    @admin.action(description="End the selected clients", permissions=["end"])
    def end(self, request: Any, queryset: QuerySet[OAuthClient]) -> HttpResponse | None:
        def act(clients: QuerySet[OAuthClient]) -> str:
            number = actions.delete_clients(clients, by=Actor.of_request(request))
            return f"Ended {number} client{'' if number == 1 else 's'}."

        return ask_first(
            self,
            request,
            self.reachable(request, "delete", queryset),
            title="End OAuth clients",
            verb="End",
            warning="Their tokens are revoked at once, and nobody can sign in to them. "
            "A service of the configuration gets its client back at the next start "
            "of the hub, a server at its own next start.",
            act=act,
        )

    # A new secret

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.secret_view)
        return [
            path("<int:pk>/secret/", view, name="oauth_oauthclient_secret"),
            *super().get_urls(),
        ]

    def may_renew(self, request: Any, client: OAuthClient) -> bool:
        """Tell whether this person may issue the token whose secret is the client's."""
        service = client.service
        if service is None or actions.has_secret(client):
            return False
        access = request.user.access
        reached = access.limit("tokens", queryset=Service.objects.all())
        return reached.filter(pk=service.pk).exists() and access.may_hand_out(
            lambda: service.access.scopes, "tokens", members_among
        )

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        client: OAuthClient | None = context.get("original")
        context["may_renew"] = client is not None and self.may_renew(request, client)
        return super().render_change_form(request, context, *args, **kwargs)

    @sensitive_variables("secret")
    def secret_view(self, request: Any, pk: int) -> HttpResponse:
        """Ask first; then show the new secret in this response only."""
        client = self.get_queryset(request).filter(pk=pk).first()
        if client is None or not self.may_renew(request, client):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"New secret for {client}",
            "client": client,
        }
        if request.method == "POST":
            try:
                token, secret = actions.renew_secret(
                    client, by=Actor.of_request(request)
                )
            except Refusal as refusal:
                context["refusal"] = refusal.for_people
            else:
                context |= {"token": token, "secret": secret}
        response = TemplateResponse(
            request, "admin/oauth/oauthclient/secret.html", context
        )
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="Service or server")
    def stands_for(self, client: OAuthClient) -> str:
        if client.service is not None:
            return f"service {client.service.name}"
        return f"server {client.server}"

    @admin.display(description="Active tokens")
    def held(self, client: Any) -> SafeString | str:
        if not client.tokens:
            return "0"
        return link(
            "tokens_apitoken_changelist", client.tokens, client=client.identifier
        )

    @admin.display(description="Allowed scopes")
    def may_ask(self, client: OAuthClient) -> SafeString | str:
        said = format_html_join(
            "",
            "<dt><code>{}</code></dt><dd>{}</dd>",
            ((scope, describe(scope)) for scope in client.allowed_scopes),
        )
        return or_dash(said)

    @admin.display(description="Asks for consent")
    def unasked(self, client: OAuthClient) -> str:
        if client.needs_no_confirmation:
            return "no, trusted by the configuration"
        return "everybody except the server's owner" if client.server else "yes"

    @admin.display(description="Can sign people in")
    def can_sign_in(self, client: OAuthClient) -> str:
        if client.secret is None:
            return "no, its secret is not known"
        return (
            "no, its secret has ended"
            if client.secret.is_ended
            else "no, its secret is disabled or frozen"
            if client.secret.disabled_at or client.secret.frozen_at
            else "yes"
        )

    @admin.display(description="Secret")
    def secret_is(self, client: OAuthClient) -> SafeString | str:
        if client.secret is None:
            return "-"
        where = page_of("tokens_apitoken", client.secret.pk, str(client.secret))
        return format_html("that of token {}", where)

    @admin.display(description="Since")
    def since(self, client: OAuthClient) -> SafeString | str:
        return moment(client.created)
