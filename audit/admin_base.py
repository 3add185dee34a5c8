"""What every page of the admin has in common: rights by scopes, lists with bounds.

It stands in the leftmost room that has such pages, so that all may use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db import IntegrityError, connection
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import localtime

from audit.changes import ChangedMeanwhile
from audit.models import Actor
from scopes.refusals import Refusal

# Beyond this many rows a list says "more than", and one looks for a name instead of
# leafing. Counting a hundred thousand rows on each page view helps nobody.
COUNTED = 10_000

DASH = "-"


class BoundedPaginator(Paginator):
    """Pages through the first rows of a list, and counts no further."""

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:COUNTED].count()


class BoundedChangeList(ChangeList):
    """A list that knows whether it was counted to its end, and what may be shown."""

    def get_queryset(self, request: Any, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        queryset = super().get_queryset(request, *args, **kwargs)
        for parameter in self.params:
            queryset = self.model_admin.entitled(request, queryset, parameter)
        return queryset

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.has_more = self.result_count >= COUNTED
        self.model_admin.mark_shown(request, self.result_list)


class NamesField(forms.CharField):
    """Names, one per line; there may be thousands."""

    widget = forms.Textarea(attrs={"rows": 4, "cols": 40, "spellcheck": "false"})

    def to_python(self, value: Any) -> list[str]:
        if isinstance(value, list):
            return value
        if "\0" in (value or ""):
            raise forms.ValidationError("A name can't hold a NUL character.")
        lines = (line.strip() for line in (value or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(initial) != self.to_python(data)


class CaseFilter(admin.SimpleListFilter):
    """Rows in one of a few cases, each with its words and its condition."""

    def cases(self) -> dict[str, tuple[str, Q]]:
        """Say the cases by their values in the address."""
        raise NotImplementedError

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words) for value, (words, _) in self.cases().items()]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, condition = self.cases().get(self.value() or "", ("", Q()))
        return queryset.filter(condition)


class ChosenFilter(admin.SimpleListFilter):
    """Rows that belong to something, which a link from elsewhere has chosen.

    It offers nothing by itself, since there may be too many to choose from; it shows
    what is chosen, and the way back to all.
    """

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.value()
        return [(chosen, chosen)] if chosen else []

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.belonging(queryset, self.value()) if self.value() else queryset

    def belonging(self, queryset: QuerySet[Any], name: str) -> QuerySet[Any]:
        """Keep the rows that belong to what has this name."""
        raise NotImplementedError


class ScopedAdmin(admin.ModelAdmin):
    """Admin pages of one model, as far as the scopes of whoever asks reach.

    The model's `scope_permissions` say which scopes view, add, change and delete;
    what it does not name is closed. Changes go through the actions of the model's
    room: `save_model` and `delete_model` of a subclass call them, and what they
    refuse shows on the form.
    """

    # The wire's table of keys by scope, for what is shown of a single row.
    table: ClassVar[str] = ""
    # What the record calls these rows.
    kind: ClassVar[str] = ""
    search_prefixes: ClassVar[tuple[str, ...]] = ("name",)
    # Filters by their parameter, each with the key of the wire that it tells.
    telling: ClassVar[dict[str, str]] = {}

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    empty_value_display = DASH

    def named(self, row: Any) -> str:
        """Name a row where somebody is asked whether it was meant."""
        return str(row)

    # Rights

    def has_permission(self, request: Any, action: str, obj: Model | None) -> bool:
        """Tell whether the act is possible on some row, or on just this one."""
        name = f"{self.opts.app_label}.{action}_{self.opts.model_name}"
        return request.user.has_perm(name, obj)

    def has_view_permission(self, request: Any, obj: Model | None = None) -> bool:
        return self.has_permission(request, "view", obj)

    def has_add_permission(self, request: Any) -> bool:
        # What does not exist yet answers to no filter.
        scopes = self.scopes("add")
        return bool(scopes) and request.user.access.covers(scopes)

    def has_change_permission(self, request: Any, obj: Model | None = None) -> bool:
        return self.has_permission(request, "change", obj)

    def has_delete_permission(self, request: Any, obj: Model | None = None) -> bool:
        return self.has_permission(request, "delete", obj)

    def has_module_permission(self, request: Any) -> bool:
        return self.has_view_permission(request)

    def has_view_or_change_permission(
        self, request: Any, obj: Model | None = None
    ) -> bool:
        # Rows that can't be seen can't be changed either.
        return self.has_view_permission(request, obj)

    def scopes(self, action: str) -> tuple[str, ...]:
        declared = getattr(self.model, "scope_permissions", {})
        return declared.get(action, ())

    def get_queryset(self, request: Any) -> QuerySet[Any]:
        return self.reachable(request, "view", super().get_queryset(request))

    def reachable(
        self, request: Any, action: str, queryset: QuerySet[Any]
    ) -> QuerySet[Any]:
        """Keep the rows on which whoever asks may act like this."""
        scopes = self.scopes(action)
        if not scopes:
            return queryset.none()
        return request.user.access.limit(*scopes, queryset=queryset)

    def get_object(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        obj = super().get_object(request, *args, **kwargs)
        if obj is not None:
            self.mark_shown(request, [obj])
        return obj

    def mark_shown(self, request: Any, rows: Collection[Any]) -> None:
        """Note on each row which of its keys may be shown."""
        if self.table:
            view = request.user.access.view(self.table)
            for row in rows:
                row.shown = view.keys(row)

    # Lists

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        # Django lets any column be asked, digests of passwords included, and each
        # answer tells a letter more of it.
        for part in self.list_filter:
            field = part[0] if isinstance(part, tuple) else part
            if isinstance(field, str):
                if lookup.partition("__")[0] == field:
                    return True
            elif lookup == getattr(field, "parameter_name", None):
                return True
        return False

    def entitled(
        self, request: Any, queryset: QuerySet[Any], parameter: str
    ) -> QuerySet[Any]:
        """Keep the rows of which whoever asks may know what a filter tells."""
        key = self.telling.get(parameter.partition("__")[0])
        if key is None:
            return queryset
        return request.user.access.limit_shown(self.table, key, queryset)

    def changelist_view(self, request: Any, extra_context: Any = None) -> HttpResponse:
        # PostgreSQL stores no NUL, and fails if it is asked for one.
        if any("\0" in value for value in request.GET.values()):
            raise BadRequest("Nothing is named by a NUL.")
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(
            request, {"title": title, **(extra_context or {})}
        )

    def get_changelist(self, request: Any, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    @property
    def search_fields(self) -> tuple[str, ...]:
        return self.search_prefixes

    def get_search_fields(self, request: Any) -> tuple[str, ...]:
        return self.search_prefixes

    def get_search_results(
        self, request: Any, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(self.search(term)) if term else queryset), False

    def response_action(self, request: Any, queryset: QuerySet[Any]) -> Any:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if not all(re.fullmatch(r"[0-9]{1,18}", number) for number in chosen):
            raise BadRequest("What is chosen has no row.")
        return super().response_action(request, queryset)

    def search(self, term: str) -> Q:
        """Say which rows answer to a word in the search field."""
        condition = Q(pk__in=())
        for field in self.search_prefixes:
            condition |= begins_with(field, term)
        return condition

    # Changes

    def get_form(
        self, request: Any, *args: Any, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, *args, **kwargs)

        class RefusableForm(form):  # type: ignore[misc, valid-type]
            """The form, with what an action refused as its error."""

            def clean(self) -> Any:
                cleaned = super().clean()
                if refusal := getattr(request, "refusal", ""):
                    raise forms.ValidationError(refusal)
                return cleaned

        return RefusableForm

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        original = context.get("original")
        if original is None:
            context["title"] = f"Add {self.opts.verbose_name}"
        else:
            context["title"] = f"{capfirst(self.opts.verbose_name)} {original}"
            if self.kind:
                name = f"admin:{self.opts.app_label}_{self.opts.model_name}_history"
                context["history_url"] = reverse(name, args=[quote(original.pk)])
        return super().render_change_form(request, context, *args, **kwargs)

    def changeform_view(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except (Refusal, IntegrityError) as problem:
            # All that was done is undone. The same form comes once more, says why,
            # and still holds what was typed.
            if isinstance(problem, ChangedMeanwhile):
                request.POST = request.POST.copy()
                request.POST.update(problem.present)
            request.refusal = getattr(
                problem, "message", "Something else changed this meanwhile; try again."
            )
            return super().changeform_view(request, *args, **kwargs)

    def save_related(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: actions change relations too."""

    def get_deleted_objects(
        self, objs: Collection[Any], request: Any
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name what is to be deleted, without collecting all that hangs on it."""
        name = self.opts.verbose_name_plural
        return [str(obj) for obj in objs], {name: len(objs)}, set(), []

    def delete_view(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().delete_view(request, *args, **kwargs)
        except Refusal as refusal:
            self.message_user(request, refusal.message, messages.ERROR)
            return HttpResponseRedirect(
                request.path.removesuffix("delete/") + "change/"
            )

    # The record of acts takes the place of Django's log

    def log_addition(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the action has recorded it."""

    log_change = log_addition
    log_deletions = log_addition

    def history_view(
        self, request: Any, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_view_permission(request, obj):
            raise PermissionDenied
        where = reverse("admin:audit_event_changelist")
        asked = urlencode({"target": f"{self.kind}:{obj}"})
        return HttpResponseRedirect(f"{where}?{asked}")


def begins_with(field: str, text: str) -> Q:
    """Say that a field begins with `text`, in a way that an index answers."""
    if connection.vendor == "sqlite":
        # LIKE does not use the index there, a range does.
        return Q(**{f"{field}__gte": text, f"{field}__lt": f"{text}\U0010ffff"})
    return Q(**{f"{field}__startswith": text})


def actor_of(request: Any) -> Actor:
    """Name whoever acts through a page, for the record."""
    address = request.META.get("REMOTE_ADDR", "")
    return Actor("user", request.user.get_username(), None, address)


def or_dash(value: Any) -> Any:
    """Show what there is nothing to show of as a dash, on forms as in lists."""
    return DASH if value is None or value == "" else value


def moment(when: datetime | None, otherwise: str = DASH) -> SafeString | str:
    """Spell a moment as the hub's other pages do."""
    if when is None:
        return otherwise
    said = date_format(localtime(when), "j M Y, H:i")
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), said)


def yes(value: bool | None) -> str:
    """Say yes, or say nothing: a column of crosses would cry wolf."""
    return "yes" if value else DASH


def link(view: str, text: str, **parameters: Any) -> SafeString:
    """Link to a list of the admin, filtered."""
    where = reverse(f"admin:{view}")
    query = f"?{urlencode(parameters)}" if parameters else ""
    return format_html('<a href="{}{}">{}</a>', where, query, text)


def ask_first(
    modeladmin: ScopedAdmin,
    request: Any,
    queryset: QuerySet[Any],
    *,
    title: str,
    verb: str,
    warning: str = "",
    act: Callable[[QuerySet[Any]], str],
) -> HttpResponse | None:
    """Show how many rows an act concerns, and perform it once that is confirmed.

    `queryset` is all that was chosen, on this page or on all of them. `act` says what
    it did.
    """
    if request.POST.get("confirmed"):
        try:
            modeladmin.message_user(request, act(queryset), messages.SUCCESS)
        except Refusal as refusal:
            modeladmin.message_user(request, refusal.message, messages.ERROR)
        return None
    number = queryset.order_by().count()
    if not number:
        modeladmin.message_user(
            request, "None of these rows is yours to change.", messages.WARNING
        )
        return None
    related = modeladmin.list_select_related
    shown = queryset.select_related(*related) if related else queryset
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": title,
        "opts": modeladmin.opts,
        "media": modeladmin.media,
        "number": number,
        "rows": [modeladmin.named(row) for row in shown[:20]],
        "more": max(0, number - 20),
        "verb": verb,
        "warning": warning,
        "action": request.POST["action"],
        "select_across": request.POST.get("select_across", "0"),
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "noun": modeladmin.opts.verbose_name
        if number == 1
        else modeladmin.opts.verbose_name_plural,
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)
