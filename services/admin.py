"""Services in the admin."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin.belongings import Belonging, counted, note_owned
from accounts.admin.filters import RoleFilter
from audit.models import Actor
from database.search import contains
from services import actions
from services.models import Service
from web.admin_base import DASH, NamesField, ScopedAdmin, moment, or_dash, yes

# Related objects of services, which rooms to the right add.
belongings: list[Belonging] = []


class ServiceForm(forms.ModelForm):
    """A service that is added while the hub runs."""

    oauth_client_allowed_scopes = NamesField(
        required=False,
        label="Scopes for its visitors' tokens",
        help_text="One per line. A service can't be given more than you hold.",
    )

    class Meta:
        model = Service
        fields = (
            *("name", "admin", "url", "display"),
            *("oauth_client_id", "oauth_redirect_uri", "oauth_no_confirm"),
            "oauth_client_allowed_scopes",
        )
        labels = {  # noqa: RUF012
            "admin": "Administrator",
            "url": "URL",
            "display": "Shown to people",
            "oauth_client_id": "OAuth client id",
            "oauth_redirect_uri": "OAuth redirect URI",
            "oauth_no_confirm": "Signs people in without their consent",
        }
        help_texts = {  # noqa: RUF012
            "admin": "Holds the role admin: may see and change everything.",
            "url": "Address for the proxy. Leave empty if the service has no pages.",
            "display": "Whether the menu lists the service. Unknown means yes.",
        }


@admin.register(Service)
class ServiceAdmin(ScopedAdmin):
    """Services can be added and deleted; changes are made in the configuration."""

    table = "service"
    kind = "service"
    form = ServiceForm
    search_help_text = "Any part of a name"

    list_display = ("name", "is_admin", "declared", "shown_url", "owned")
    exported = ("name", "is_admin", "declared", "shown_url", "role_names", "created")
    list_filter = (
        ("admin", admin.BooleanFieldListFilter),
        ("from_config", admin.BooleanFieldListFilter),
        RoleFilter,
    )
    telling = {"admin": "admin", "role": "roles"}  # noqa: RUF012
    ordering = ("name",)
    sortable_by = ("name",)

    def get_queryset(self, request: Any) -> QuerySet[Service]:
        return super().get_queryset(request).prefetch_related("roles")

    def search(self, term: str) -> Q:
        return contains(Service, term, *self.searched, indexed=False)

    def mark_shown(self, request: Any, rows: Collection[Service]) -> None:
        """Mark the related objects of each row as shown, too."""
        super().mark_shown(request, rows)
        note_owned(belongings, rows, request, "service")

    def going(self, rows: QuerySet[Service]) -> list[str]:
        return counted(belongings, rows)

    def get_fields(self, request: Any, obj: Service | None = None) -> tuple[str, ...]:
        if obj is None:
            return ServiceForm.Meta.fields
        return (
            *("name", "is_admin", "declared", "shown_url", "shown_info"),
            *("role_names", "since", "owned"),
        )

    def get_readonly_fields(self, request: Any, obj: Service | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: Any, obj: Service | None = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Service | None = None) -> bool:
        declared = obj is not None and obj.from_config
        return not declared and super().has_delete_permission(request, obj)

    def save_model(
        self, request: Any, obj: Service, form: forms.ModelForm, change: bool
    ) -> None:
        given = {key: value for key, value in form.cleaned_data.items() if value}
        service = actions.create_service(
            given.pop("name"),
            by=Actor.of_request(request),
            access=request.user.access,
            **given,
        )
        obj.pk = service.pk

    def delete_model(self, request: Any, obj: Service) -> None:
        actions.delete_service(obj, by=Actor.of_request(request))

    # Columns and fields

    @admin.display(description="Administrator")
    def is_admin(self, service: Service) -> str:
        return yes(service.admin and "admin" in service.shown)

    @admin.display(description="Declared by")
    def declared(self, service: Service) -> str:
        return "the configuration" if service.from_config else "an operator"

    @admin.display(description="URL")
    def shown_url(self, service: Service) -> str:
        return or_dash(service.url if "url" in service.shown else None)

    @admin.display(description="Info")
    def shown_info(self, service: Service) -> SafeString | str:
        if "info" not in service.shown or not service.info:
            return DASH
        text = json.dumps(service.info, indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)

    @admin.display(description="Roles")
    def role_names(self, service: Service) -> str:
        if "roles" not in service.shown:
            return DASH
        return or_dash(", ".join(role.name for role in service.roles.all()))

    @admin.display(description="Created")
    def since(self, service: Service) -> SafeString | str:
        return moment(service.created)

    @admin.display(description="Has")
    def owned(self, service: Any) -> SafeString | str:
        return format_html_join(", ", "{}", ((part,) for part in service.owned)) or DASH
