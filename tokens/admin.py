"""Tokens in the admin: search, details, issue, disable and revoke; no secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, AdminForm
from django.core.exceptions import PermissionDenied
from django.db.models import (
    Case,
    F,
    Q,
    QuerySet,
    SmallIntegerField,
    TextField,
    When,
)
from django.db.models.functions import Cast
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_variables

from accounts.admin.belongings import Belonging, belongings, count_by
from accounts.admin.filters import named, some_groups, some_roles
from accounts.models import Group, User
from accounts.naming import find_typed_user
from accounts.rights import members_among
from audit.models import Actor
from database.search import contains
from scopes.definitions import SCOPES
from scopes.grammar import describe
from scopes.refusals import Refusal
from services import admin as services_admin
from services.models import Service
from tokens import actions
from tokens.forms import MAXIMUM, NEVER, lifetimes
from tokens.models import APIToken, CreatedVia
from web.admin_base import (
    CaseFilter,
    ChosenFilter,
    NamesField,
    ScopedAdmin,
    ask_first,
    count_of,
    moment,
    page_of,
)
from web.admin_lists import rising

TOKENS = APIToken.objects.all()
LIST = "tokens_apitoken_changelist"
belongings.insert(0, Belonging("token", count_by(TOKENS, "read:tokens"), LIST, True))
services_admin.belongings.append(
    Belonging("token", count_by(TOKENS, "read:tokens", owner="service_id"), LIST, True)
)

# The states of a token, in the order in which lists sort them.
STANDINGS = ("active", "disabled", "expired", "revoked")


def standing() -> Case:
    """Return the position of a token's state in `STANDINGS`."""
    return Case(
        When(revoked_at__isnull=False, then=3),
        When(expires_at__lte=timezone.now(), then=2),
        When(disabled_at__isnull=False, then=1),
        default=0,
        output_field=SmallIntegerField(),
    )


class StateFilter(CaseFilter):
    """Tokens by whether they can be used."""

    title = "state"
    parameter_name = "state"

    def cases(self) -> dict[str, tuple[str, Q]]:
        now = timezone.now()
        in_force = (Q(expires_at=None) | Q(expires_at__gt=now)) & Q(
            revoked_at=None, disabled_at=None
        )
        soon = Q(expires_at__lte=now + timedelta(days=7))
        return {
            "active": ("active", in_force),
            "expiring": ("expiring within a week", in_force & soon),
            "expired": ("expired", Q(expires_at__lte=now, revoked_at=None)),
            "disabled": ("disabled", Q(disabled_at__isnull=False, revoked_at=None)),
            "revoked": ("revoked", Q(revoked_at__isnull=False)),
        }


class UseFilter(CaseFilter):
    """Tokens by last use, because an unused token is a needless risk."""

    title = "last use"
    parameter_name = "used"

    def cases(self) -> dict[str, tuple[str, Q]]:
        now = timezone.now()
        month, quarter = now - timedelta(days=30), now - timedelta(days=90)
        return {
            "month": ("in the last 30 days", Q(last_activity__gte=month)),
            "long_ago": ("over 90 days ago", Q(last_activity__lt=quarter)),
            "never": ("never", Q(last_activity=None)),
        }


class ExpiryFilter(CaseFilter):
    """Tokens by whether they expire."""

    title = "expiry"
    parameter_name = "expires"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {
            "never": ("never expires", Q(expires_at=None)),
            "some": ("expires", Q(expires_at__isnull=False)),
        }


class ScopeFilter(ChosenFilter):
    """Tokens with a scope, with a filter or without."""

    title = "scope"
    parameter_name = "scope"

    def offered(self, request: Any) -> Iterable[str]:
        return SCOPES

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        # Searched in the JSON text, which needs no table of scopes beside the tokens.
        spelt = json.dumps(name)[:-1]
        text = Cast("scopes", TextField())
        return queryset.alias(scopes_text=text).filter(
            Q(scopes_text__contains=f'{spelt}"') | Q(scopes_text__contains=f"{spelt}!")
        )


class GroupFilter(ChosenFilter):
    """Tokens of the members of one group."""

    title = "owner's group"
    parameter_name = "group"

    def offered(self, request: Any) -> Iterable[str]:
        return some_groups(request)

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        members = User.groups.through.objects.filter(group__name=name)
        return queryset.filter(user__in=members.values("user_id"))


class RoleFilter(ChosenFilter):
    """Tokens whose owner has a role, by a group or directly."""

    title = "owner's role"
    parameter_name = "role"

    def offered(self, request: Any) -> Iterable[str]:
        return some_roles(request)

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        holders = Q(
            pk__in=User.roles.through.objects.filter(role__name=name).values("user_id")
        )
        groups = Group.roles.through.objects.filter(role__name=name).values("group_id")
        members = User.groups.through.objects.filter(group__in=groups)
        holders |= Q(pk__in=members.values("user_id"))
        services = Service.roles.through.objects.filter(role__name=name)
        return queryset.filter(
            Q(user__in=User.objects.filter(holders).order_by().values("pk"))
            | Q(service__in=services.values("service_id"))
        )


class OwnerKindFilter(CaseFilter):
    title = "owner"
    parameter_name = "owner_kind"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {
            "user": ("users", Q(user__isnull=False)),
            "service": ("services", Q(service__isnull=False)),
        }


class UserFilter(ChosenFilter):
    """Tokens of one user."""

    title = "user"
    parameter_name = "user"

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        return queryset.filter(user__name=name)


class ServiceFilter(ChosenFilter):
    """Tokens of one service."""

    title = "service"
    parameter_name = "service"

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        return queryset.filter(service__name=name)


class ClientFilter(ChosenFilter):
    """Tokens that one OAuth client obtained."""

    title = "client"
    parameter_name = "client"

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        return queryset.filter(client_id=name)


class IssueForm(forms.Form):
    """The owner of a new token, and its scopes."""

    kind = forms.ChoiceField(
        label="Owner is", choices=[("user", "a user"), ("service", "a service")]
    )
    owner = forms.CharField(label="Owner's name", max_length=255)
    note = forms.CharField(
        max_length=actions.MAX_NOTE_LENGTH,
        help_text="The purpose of the token, shown to its owner.",
    )
    expires_in = forms.ChoiceField(label="Expires")
    scopes = NamesField(
        required=False,
        help_text="One per line, only scopes that the owner has. If empty, the token "
        "has all rights of its owner.",
    )

    def __init__(self, *args: Any, request: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        choices = lifetimes(timezone.now())
        self.fields["expires_in"].choices = choices
        month = str(30 * 86_400)
        self.fields["expires_in"].initial = (
            month if month in dict(choices) else choices[-1][0]
        )

    def clean_expires_in(self) -> int | None:
        chosen = self.cleaned_data["expires_in"]
        return None if chosen in (NEVER, MAXIMUM) else int(chosen)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "kind" in data and "owner" in data:
            owner = self._find(data["kind"], data["owner"])
            if owner is None:
                self.add_error("owner", f"No such {data['kind']}: {data['owner']}")
            elif not self._reaches(owner):
                self.add_error(
                    "owner",
                    f"{owner.name} has rights that you lack. Only an administrator"
                    " who may issue tokens for everybody can do this.",
                )
            data["owner"] = owner
        return data

    def _find(self, kind: str, name: str) -> User | Service | None:
        """Return the owner, if this person may issue tokens for the owner."""
        access = self.request.user.access
        if kind == "user":
            users = access.limit("tokens", queryset=User.objects.all())
            return find_typed_user(name, users)
        services = access.limit("tokens", queryset=Service.objects.all())
        return services.filter(name=name).first()

    def _reaches(self, owner: User | Service) -> bool:
        access = self.request.user.access
        if isinstance(owner, Service):
            return access.may_hand_out(
                lambda: owner.access.scopes, "tokens", members_among
            )
        return owner == self.request.user or access.may_hand_out(
            owner.scopes_beyond_role_user, "tokens", members_among
        )


@admin.register(APIToken)
class APITokenAdmin(ScopedAdmin):
    """Tokens can be issued, disabled and revoked; nothing else about them changes."""

    kind = "token"
    searched = ("note", "public_id")
    search_help_text = (
        "Part of an owner's name, a note or a public id; or an id, as a12"
    )

    list_display = (
        *("id_on_the_wire", "owner_name", "note", "state", "last_used"),
        *("expires", "since"),
    )
    list_display_links = ("id_on_the_wire",)
    list_filter = (
        *(StateFilter, UseFilter, ExpiryFilter, ScopeFilter),
        *(OwnerKindFilter, GroupFilter, RoleFilter, "origin"),
        *(UserFilter, ServiceFilter, ClientFilter),
    )
    list_select_related = ("user", "service")
    ordering = ("-id",)
    sortable_by = ("id_on_the_wire", "state", "last_used", "expires", "since")
    exported = (
        *("id_on_the_wire", "public_id", "owner_exported", "note", "state"),
        *("scopes_exported", "last_activity", "expires_at", "created", "disabled_at"),
        *("revoked_at", "origin", "client_id"),
    )
    actions = ("revoke", "disable", "enable")
    change_form_template = "admin/tokens/apitoken/change_form.html"

    def get_queryset(self, request: Any) -> QuerySet[APIToken]:
        return super().get_queryset(request).annotate(standing=standing())

    def get_fields(self, request: Any, obj: APIToken | None = None) -> tuple[str, ...]:
        return (
            *("id_on_the_wire", "public_id", "owner_name", "note", "state"),
            *("scopes_said", "since", "last_used", "expires", "disabled", "revoked"),
            *("origin", "client_id"),
        )

    def has_add_permission(self, request: Any) -> bool:
        # The owner of a token exists already, so a scope with a filter is enough.
        return request.user.access.has(*self.scopes("add"))

    def has_change_permission(self, request: Any, obj: APIToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: APIToken | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: Any) -> bool:
        return request.user.access.has(*self.scopes("change"))

    def search(self, term: str) -> Q:
        users = User.objects.filter(named(term)).order_by().values("pk")
        services = Service.objects.filter(
            contains(Service, term, "name", indexed=False)
        )
        tokens = APIToken.objects.order_by().values("pk")
        found = tokens.filter(contains(APIToken, term, *self.searched)).union(
            tokens.filter(user__in=users),
            tokens.filter(service__in=services.order_by().values("pk")),
            all=True,
        )
        condition = Q(pk__in=found)
        if number := re.fullmatch(r"a(\d{1,18})", term):
            condition |= Q(pk=int(number[1]))
        return condition

    # One token

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        token: APIToken | None = context.get("original")
        if token is not None:
            may_change = token.revoked_at is None and request.user.access.allows(
                *self.scopes("change"), obj=token
            )
            context |= {
                "acts_url": reverse("admin:tokens_apitoken_changelist"),
                "checkbox_name": ACTION_CHECKBOX_NAME,
                "may_revoke": may_change,
                "may_disable": may_change and token.disabled_at is None,
                "may_enable": may_change and token.disabled_at is not None,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    # Issuing

    @sensitive_variables("secret")
    def add_view(
        self, request: Any, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Issue a token and show its secret in this response only.

        So there is no redirect: reloading the page would issue one more token, and the
        browser asks before that.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = IssueForm(request.POST or None, request=request)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Issue a token",
            "media": self.media,
        }
        if form.is_valid():
            data = form.cleaned_data
            try:
                token, secret = actions.issue_token(
                    data["owner"],
                    by=Actor.of_request(request),
                    scopes=data["scopes"] or None,
                    note=data["note"],
                    expires_in=data["expires_in"],
                    via=CreatedVia.ADMIN,
                )
            except Refusal as refusal:
                form.add_error(None, refusal.for_people)
            else:
                context |= {"title": "Token issued", "token": token, "secret": secret}
                response = TemplateResponse(
                    request, "admin/tokens/apitoken/issued.html", context
                )
                response["Cache-Control"] = "no-store"
                return response
        fields = [(None, {"fields": [[name] for name in form.fields]})]
        context |= {
            "adminform": AdminForm(form, fields, {}, model_admin=self),
            "errors": form.errors,
        }
        return TemplateResponse(request, "admin/tokens/apitoken/issue.html", context)

    # Bulk actions, on all matching rows if so chosen

    @admin.action(description="Revoke the selected tokens", permissions=["revoke"])
    def revoke(self, request: Any, queryset: QuerySet[APIToken]) -> HttpResponse | None:
        def act(tokens: QuerySet[APIToken]) -> str:
            number = actions.remove_tokens(tokens, by=Actor.of_request(request))
            return f"Revoked {count_of(number, 'token')}."

        return ask_first(
            self,
            request,
            self.reachable(request, "change", queryset).filter(revoked_at=None),
            title="Revoke tokens",
            verb="Revoke",
            warning="They stop working at once and for ever. Revoking a token of an "
            "OAuth client removes all its access for the same owner.",
            act=act,
        )

    @admin.action(description="Disable the selected tokens", permissions=["revoke"])
    def disable(
        self, request: Any, queryset: QuerySet[APIToken]
    ) -> HttpResponse | None:
        def act(tokens: QuerySet[APIToken]) -> str:
            number = actions.disable_tokens(tokens, by=Actor.of_request(request))
            return f"Disabled {count_of(number, 'token')}."

        return ask_first(
            self,
            request,
            self.reachable(request, "change", queryset).filter(
                revoked_at=None, disabled_at=None
            ),
            title="Disable tokens",
            verb="Disable",
            warning="They stop working until they are enabled again.",
            act=act,
        )

    @admin.action(description="Enable the selected tokens", permissions=["revoke"])
    def enable(self, request: Any, queryset: QuerySet[APIToken]) -> HttpResponse | None:
        def act(tokens: QuerySet[APIToken]) -> str:
            number = actions.enable_tokens(tokens, by=Actor.of_request(request))
            return f"Enabled {count_of(number, 'token')}."

        return ask_first(
            self,
            request,
            self.reachable(request, "change", queryset).filter(
                revoked_at=None, disabled_at__isnull=False
            ),
            title="Enable tokens",
            verb="Enable",
            warning="They work again until they expire.",
            act=act,
        )

    # Columns and fields

    @admin.display(description="Token", ordering="id")
    def id_on_the_wire(self, token: APIToken) -> str:
        return str(token)

    @admin.display(description="Owner")
    def owner_name(self, token: APIToken) -> SafeString:
        name = token.owner.name
        if token.user_id is not None:
            return page_of("accounts_user", token.user_id, name)
        where = page_of("services_service", token.owner.pk, name)
        return format_html("{} (service)", where)

    @admin.display(description="Owner")
    def owner_exported(self, token: APIToken) -> str:
        name = token.owner.name
        return name if token.owner_kind == "user" else f"{name} (service)"

    @admin.display(description="Scopes")
    def scopes_exported(self, token: APIToken) -> str:
        return " ".join(token.scopes)

    def named(self, row: APIToken) -> str:
        named = f"{row} of {self.owner_exported(row)}"
        return f"{named}: {row.note}" if row.note else named

    @admin.display(description="State", ordering="standing")
    def state(self, token: Any) -> SafeString:
        state = STANDINGS[token.standing]
        return format_html(
            '<span class="state {}">{}</span>', state.replace(" ", "-"), state
        )

    @admin.display(description="Last used", ordering=rising("last_activity"))
    def last_used(self, token: APIToken) -> SafeString | str:
        return moment(token.last_activity, "never")

    @admin.display(description="Expires", ordering=F("expires_at").asc(nulls_last=True))
    def expires(self, token: APIToken) -> SafeString | str:
        return moment(token.expires_at, "never")

    @admin.display(description="Created", ordering="created")
    def since(self, token: APIToken) -> SafeString | str:
        return moment(token.created)

    @admin.display(description="Disabled")
    def disabled(self, token: APIToken) -> SafeString | str:
        return _by(token.disabled_at, token.disabled_by)

    @admin.display(description="Revoked")
    def revoked(self, token: APIToken) -> SafeString | str:
        return _by(token.revoked_at, token.revoked_by)

    @admin.display(description="Scopes")
    def scopes_said(self, token: APIToken) -> SafeString | str:
        if not token.scopes:
            return "None, the token only identifies its owner"
        items = format_html_join(
            "",
            "<dt><code>{}</code></dt><dd>{}</dd>",
            ((scope, describe(scope)) for scope in token.scopes),
        )
        return format_html('<dl class="scopes">{}</dl>', items)


def _by(when: datetime | None, who: str) -> SafeString | str:
    """Return when something was done, and by whom if that is known."""
    said = moment(when)
    return format_html("{} by {}", said, who) if when and who else said
