"""Groups in the admin."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import orjson
from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms.fields import InvalidJSONInput
from django.http import HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import group_actions, naming
from accounts.admin.filters import MemberFilter, RoleFilter, some
from accounts.admin.lists import few_enough, spelt
from accounts.admin.user_form import explain_managed
from accounts.admin.users import DELETED
from accounts.administrators import keep_administrator
from accounts.group_actions import check_adding
from accounts.models import Group, User
from audit.models import Actor
from database.locks import locked
from scopes.refusals import Invalid, NotFound
from web.admin_base import (
    DASH,
    NamesField,
    ScopedAdmin,
    ask_first,
    count_of,
    link,
)
from web.form_changes import ChangesForm


class PropertiesField(forms.JSONField):
    """JSON that every database can store, with the same checks as in the API."""

    DEEPEST = 100

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value:
            depth = deepest = 0
            for bracket in re.findall(r"[\[{\]}]", value):
                depth += 1 if bracket in "[{" else -1
                deepest = max(deepest, depth)
            try:
                kept = deepest <= self.DEEPEST and orjson.loads(value)
                text = json.dumps(kept, allow_nan=False)
            except ValueError:
                text = ""
            if not text or kept is False or "\\u0000" in text:
                raise forms.ValidationError(self.error_messages["invalid"])
        return super().to_python(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        # Wrong input is shown as it was typed.
        return None if data is None else InvalidJSONInput(data)


class GroupForm(ChangesForm):
    """A group, with users to add and to remove."""

    add_members = NamesField(
        required=False,
        label="Add members",
        help_text="Names of users, one per line. You can paste a whole list.",
    )
    remove_members = NamesField(
        required=False,
        label="Remove members",
        help_text="Names of users, one per line.",
    )

    class Meta:
        model = Group
        fields = ("name", "properties")
        field_classes = {"properties": PropertiesField}  # noqa: RUF012
        widgets = {  # noqa: RUF012
            "properties": forms.Textarea({"rows": 4, "cols": 40, "spellcheck": "false"})
        }
        help_texts = {  # noqa: RUF012
            "properties": "A JSON object that programs read, for instance "
            '{"room": "M1"}.'
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        explain_managed(self, "add_members", "remove_members")

    def clean_add_members(self) -> list[str]:
        return few_enough(self.cleaned_data["add_members"])

    def clean_remove_members(self) -> list[str]:
        return few_enough(self.cleaned_data["remove_members"])

    def clean_properties(self) -> dict[str, Any]:
        properties = self.cleaned_data["properties"] or {}
        if not isinstance(properties, dict):
            raise forms.ValidationError("Write a JSON object: {…}.")
        return properties


@admin.register(Group)
class GroupAdmin(ScopedAdmin):
    """Groups of any size: members are counted and linked to, never listed."""

    table = "group"
    kind = "group"
    form = GroupForm
    search_help_text = "Any part of a name"

    list_display = ("name", "role_names", "members")
    exported = ("name", "all_roles", "number_of_members", "created")
    list_filter = (RoleFilter, MemberFilter)
    telling = {"role": "roles", "user": "users"}  # noqa: RUF012
    ordering = ("name",)
    sortable_by = ("name",)
    actions = ("delete_groups",)
    readonly_fields = ("role_names", "members", "shown_properties")

    def get_queryset(self, request: Any) -> QuerySet[Group]:
        return super().get_queryset(request).prefetch_related("roles")

    def get_fields(self, request: Any, obj: Group | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "properties", "add_members")
        about = ("members", "role_names")
        if not self.has_change_permission(request, obj):
            return ("name", *about, "shown_properties")
        return ("name", *about, "add_members", "remove_members", "properties")

    def get_readonly_fields(self, request: Any, obj: Group | None = None) -> Any:
        # As in the API, groups can't be renamed.
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else ("name", *fields)

    def save_model(
        self, request: Any, obj: Group, form: forms.ModelForm, change: bool
    ) -> None:
        with keep_administrator():
            self.save_group(request, obj, form, change)

    def save_group(
        self, request: Any, obj: Group, form: forms.ModelForm, change: bool
    ) -> None:
        by = Actor.of_request(request)
        data = form.cleaned_data
        added = self.known(request, data["add_members"])
        if added:
            name = obj.name if change else data["name"]
            check_adding(request.user.access, by, [name])
        if not change:
            group = group_actions.create_group(
                data["name"],
                users=added,
                properties=data["properties"],
                by=by,
            )
            obj.pk = group.pk
            return
        group = locked(Group.objects.filter(pk=obj.pk)).first()
        if group is None:
            raise NotFound(DELETED)
        changes = form.changes({"properties": group.properties})
        if added:
            group_actions.add_members(group, added, by=by)
        if data.get("remove_members"):
            removed = self.known(request, data["remove_members"])
            group_actions.remove_members(group, removed, by=by)
        if "properties" in changes:
            group_actions.set_properties(group, changes["properties"], by=by)

    def known(self, request: Any, names: list[str]) -> list[str]:
        """Return the names that have a user; leave out others if that was chosen."""
        missing = naming.unknown_users(names)
        if not missing:
            return names
        known = [name for name in names if name not in set(missing)]
        if "_known" not in request.POST:
            request.offer = bool(known)
            raise Invalid(
                f"No such user: {spelt(missing)}. Of {len(names):,} names "
                f"{len(known):,} have a user. Nothing was changed."
            )
        self.message_user(
            request, f"Left out, because there is no such user: {spelt(missing)}."
        )
        return known

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["offer"] = getattr(request, "offer", False)
        return super().render_change_form(request, context, *args, **kwargs)

    def delete_model(self, request: Any, obj: Group) -> None:
        with keep_administrator():
            group_actions.delete_group(obj, by=Actor.of_request(request))

    @admin.action(description="Delete the selected groups", permissions=["delete"])
    def delete_groups(
        self, request: Any, queryset: QuerySet[Group]
    ) -> HttpResponse | None:
        def act(groups: QuerySet[Group]) -> str:
            number = group_actions.delete_groups(
                groups, by=Actor.of_request(request), within=keep_administrator
            )
            return f"Deleted {count_of(number, 'group')}."

        return ask_first(
            self,
            request,
            self.reachable(request, "delete", queryset),
            title="Delete groups",
            verb="Delete",
            warning="Their members stay users, but lose the roles of the groups.",
            act=act,
        )

    # Columns and fields

    @admin.display(description="Roles")
    def role_names(self, group: Group) -> str:
        return some(group.roles.all()) if "roles" in group.shown else DASH

    def mark_shown(self, request: Any, rows: Collection[Group]) -> None:
        """Set the number of members as well."""
        super().mark_shown(request, rows)
        memberships = User.groups.through.objects.order_by()
        mine = memberships.filter(group__in=[group.pk for group in rows])
        numbers = dict(mine.values_list("group_id").annotate(Count("pk")))
        for group in rows:
            group.number = numbers.get(group.pk, 0)

    def going(self, rows: QuerySet[Group]) -> list[str]:
        ids = list(rows.order_by().values_list("pk", flat=True))
        number = User.groups.through.objects.filter(group__in=ids).count()
        return [count_of(number, "membership")] if number else []

    @admin.display(description="Roles")
    def all_roles(self, group: Group) -> str:
        shown = "roles" in group.shown
        return " ".join(role.name for role in group.roles.all()) if shown else DASH

    @admin.display(description="Members")
    def number_of_members(self, group: Any) -> int | str:
        return group.number if "users" in group.shown else DASH

    @admin.display(description="Members")
    def members(self, group: Any) -> SafeString | str:
        if "users" not in group.shown:
            return DASH
        said = count_of(group.number, "member")
        text = format_html('{} <span class="visually-hidden">of {}</span>', said, group)
        return link("accounts_user_changelist", text, group=group.name)

    @admin.display(description="Properties")
    def shown_properties(self, group: Group) -> SafeString | str:
        if "properties" not in group.shown or not group.properties:
            return DASH
        text = json.dumps(group.properties, indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", text)
