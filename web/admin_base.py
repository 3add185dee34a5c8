"""The base of all admin pages: permissions by scopes, and lists with limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import IntegrityError
from django.db.models import Model, Q, QuerySet
from django.http import HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst, slugify
from django.utils.timezone import localtime

from database.search import contains
from scopes.refusals import Refusal
from web.admin_lists import EXPORTED, Pages, WholeList, export
from web.form_changes import ChangedMeanwhile

DASH = "-"


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
    """A filter with a few fixed cases, each with a label and a condition."""

    def cases(self) -> dict[str, tuple[str, Q]]:
        """Return the cases by their values in the address."""
        raise NotImplementedError

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words) for value, (words, _) in self.cases().items()]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, condition = self.cases().get(self.value() or "", ("", Q()))
        return queryset.filter(condition)


class ChosenFilter(admin.SimpleListFilter):
    """A filter by a related row, which a link from another page has chosen.

    The filter offers the names from `offered`, which returns nothing where there may be
    too many. It shows the chosen name and a link to all rows.
    """

    def offered(self, request: Any) -> Iterable[str]:
        """Return some names to choose from."""
        return ()

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.value()
        names = dict.fromkeys(self.offered(request))
        if chosen:
            names.setdefault(chosen)
        return [(name, name) for name in names]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.belonging(queryset, self.value()) if self.value() else queryset

    def belonging(self, queryset: QuerySet[Any], name: str) -> QuerySet[Any]:
        """Return the rows that belong to the related row of this name."""
        raise NotImplementedError


class TypedFilter(ChosenFilter):
    """A filter by a text that a person types into a field, or chooses below."""

    template = "admin/typed_filter.html"
    # An example of the text, shown as the help of the field.
    example = ""

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = iter(super().choices(changelist))
        first = next(chosen)
        # The form keeps the search, the order and the other filters.
        kept = [
            (name, value)
            for name, value in changelist.params.items()
            if name != self.parameter_name
        ]
        yield {**first, "kept": kept, "value": self.value() or ""}
        yield from chosen


class ScopedAdmin(admin.ModelAdmin):
    """Admin pages of one model, limited by the scopes of the signed-in user.

    The model's `scope_permissions` declare the scopes to view, add, change and delete;
    an action without a declaration is closed. `save_model` and `delete_model` of a
    subclass call the actions of the model's room, and the form shows their refusals.
    """

    # The API's table of keys by scope, which limits the fields of a single row.
    table: ClassVar[str] = ""
    # The kind of these rows in the audit log.
    kind: ClassVar[str] = ""
    # The fields that are searched for a part of a word, with the index of `contains`.
    searched: ClassVar[tuple[str, ...]] = ("name",)
    # Columns of the export: methods of the page or attributes of the row.
    exported: ClassVar[tuple[str, ...]] = ()
    # Filters by their parameter, each with the key of the API that it reveals.
    telling: ClassVar[dict[str, str]] = {}

    paginator = Pages
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    empty_value_display = DASH

    def named(self, row: Any) -> str:
        """Return the name of a row for a page that asks for confirmation."""
        return str(row)

    # Rights

    def has_permission(self, request: Any, action: str, obj: Model | None) -> bool:
        """Return whether the action is allowed on any row, or on this one."""
        name = f"{self.opts.app_label}.{action}_{self.opts.model_name}"
        return request.user.has_perm(name, obj)

    def has_view_permission(self, request: Any, obj: Model | None = None) -> bool:
        return self.has_permission(request, "view", obj)

    def has_add_permission(self, request: Any) -> bool:
        # A filter reaches no row that does not exist yet.
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

    # Fields of one row

    def get_fieldsets(self, request: Any, obj: Model | None = None) -> Any:
        """Leave out fields without a value for this row."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        editable = self.has_change_permission(request, obj)
        shown = self.get_readonly_fields(request, obj)
        return [
            (
                title,
                {
                    **options,
                    "fields": [
                        field
                        for field in options["fields"]
                        if (editable and field not in shown)
                        or self.says_something(field, obj)
                    ],
                },
            )
            for title, options in fieldsets
        ]

    def says_something(self, field: str, obj: Model) -> bool:
        told = getattr(self, field, None)
        value = told(obj) if callable(told) else getattr(obj, field, None)
        return value not in (None, "", DASH)

    def get_queryset(self, request: Any) -> QuerySet[Any]:
        return self.reachable(request, "view", super().get_queryset(request))

    def reachable(
        self, request: Any, action: str, queryset: QuerySet[Any]
    ) -> QuerySet[Any]:
        """Return the rows on which the user may perform the action."""
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
        """Store on each row which of its keys are visible."""
        if self.table:
            view = request.user.access.view(self.table)
            for row in rows:
                row.shown = view.keys(row)

    # Lists

    def action_checkbox(self, obj: Any) -> SafeString:
        """Return the box that selects a row; a widget's template takes far longer."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" '
            'aria-label="Select this object for an action - {}">',
            *(ACTION_CHECKBOX_NAME, obj.pk, obj),
        )

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        # Django allows lookups of any column, also of digests of passwords, and each
        # result would reveal one more letter.
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
        """Return the rows for which the user may see the key that a filter reveals."""
        key = self.telling.get(parameter.partition("__")[0])
        if key is None:
            return queryset
        return request.user.access.limit_shown(self.table, key, queryset)

    def changelist_view(self, request: Any, extra_context: Any = None) -> HttpResponse:
        self.refuse_nul(request)
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(
            request, {"title": title, **(extra_context or {})}
        )

    def refuse_nul(self, request: Any) -> None:
        # PostgreSQL stores no NUL, and fails on a parameter that contains one.
        if any("\0" in value for value in request.GET.values()):
            raise BadRequest("A name can't hold a NUL character.")

    def get_changelist(self, request: Any, **kwargs: Any) -> type[ChangeList]:
        return WholeList

    @property
    def search_fields(self) -> tuple[str, ...]:
        return self.searched

    def get_search_fields(self, request: Any) -> tuple[str, ...]:
        return self.searched

    def get_search_results(
        self, request: Any, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(self.search(term)) if term else queryset), False

    def response_action(self, request: Any, queryset: QuerySet[Any]) -> Any:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if not all(re.fullmatch(r"[0-9]{1,18}", number) for number in chosen):
            raise BadRequest("The selected rows do not exist.")
        response = super().response_action(request, queryset)
        done = isinstance(response, HttpResponseRedirect)
        if done and request.POST.get("stay") and len(chosen) == 1:
            # The action was started on the page of one row.
            place = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(place, args=chosen))
        return response

    def search(self, term: str) -> Q:
        """Return the condition for rows that match a word of the search field."""
        return contains(self.model, term, *self.searched)

    # Export

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.export_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", view, name=name), *super().get_urls()]

    def export_view(self, request: Any) -> HttpResponseBase:
        """Return all rows of the search and the filters, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        place = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        where = f"{reverse(place)}?{request.GET.urlencode()}"
        self.refuse_nul(request)
        try:
            listed = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(where)
        if listed.result_count > EXPORTED:
            self.message_user(
                request,
                f"These are {listed.result_count:,} rows; {EXPORTED:,} can be exported "
                "at once. Search or filter, and export in parts.",
                messages.ERROR,
            )
            return HttpResponseRedirect(where)
        return export(
            slugify(str(self.opts.verbose_name_plural)),
            [self.column(name) for name in self.exported],
            listed.queryset,
            lambda rows: self.mark_shown(request, list(rows)),
        )

    def column(self, name: str) -> tuple[str, Callable[[Any], Any]]:
        """Return the heading of an exported column, and the function of its values."""
        shown = getattr(self, name, None)
        if shown is None:
            return capfirst(name.replace("_", " ")), attrgetter(name)
        heading = getattr(shown, "short_description", name)
        return capfirst(heading), lambda row: "" if shown(row) == DASH else shown(row)

    # Changes

    def get_form(
        self, request: Any, *args: Any, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, *args, **kwargs)

        class RefusableForm(form):  # type: ignore[misc, valid-type]
            """The form, with the refusal of an action as its error."""

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
            # All changes are rolled back. The same form is shown again, with the reason
            # and the values that were entered.
            if isinstance(problem, ChangedMeanwhile):
                request.POST = request.POST.copy()
                request.POST.update(problem.present)
            request.refusal = getattr(
                problem,
                "message",
                "Another change was made at the same moment. Try again.",
            )
            return super().changeform_view(request, *args, **kwargs)

    def save_related(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because actions change relations, too."""

    def get_deleted_objects(
        self, objs: Collection[Any], request: Any
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Return the names of rows to delete, without collecting all related rows."""
        name = self.opts.verbose_name_plural
        return [str(obj) for obj in objs], {name: len(objs)}, set(), []

    def going(self, rows: QuerySet[Any]) -> list[str]:
        """Return the related rows that are deleted with these, as "3 tokens"."""
        return []

    def delete_view(
        self, request: Any, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        going: list[str] = []
        if request.method == "GET" and (row := self.get_object(request, object_id)):
            going = self.going(self.model._default_manager.filter(pk=row.pk))
        context = {**(extra_context or {}), "going": in_a_row(going)}
        try:
            return super().delete_view(request, object_id, context)
        except Refusal as refusal:
            self.message_user(request, refusal.for_people, messages.ERROR)
            return HttpResponseRedirect(
                request.path.removesuffix("delete/") + "change/"
            )

    # The audit log replaces Django's log

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


def or_dash(value: Any) -> Any:
    """Return a dash for an empty value, on forms and in lists."""
    return DASH if value is None or value == "" else value


def moment(when: datetime | None, otherwise: str = DASH) -> SafeString | str:
    """Return a time with seconds, because people compare it with programs' logs."""
    if when is None:
        return otherwise
    said = date_format(localtime(when), "j M Y, H:i:s")
    return format_html(
        '<time datetime="{}" title="{} UTC" data-local-second>{}</time>',
        *(when.isoformat(), said, said),
    )


def shows_one(request: Any) -> bool:
    """Return whether a request is for the page of one row."""
    return bool(request.resolver_match.url_name.endswith("_change"))


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun."""
    digits = f"{number:,}" if number >= 10_000 else str(number)
    return f"{digits} {noun}{'' if number == 1 else 's'}"


def in_a_row(parts: list[str]) -> str:
    """Join words with commas and a last "and"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def page_of(view: str, pk: int, text: Any) -> SafeString:
    """Return a link to the page of one row."""
    where = reverse(f"admin:{view}_change", args=[pk])
    return format_html('<a href="{}">{}</a>', where, text)


def yes(value: bool | None) -> str:
    """Return "yes" or a dash, because red crosses would look like errors."""
    return "yes" if value else DASH


def link(view: str, text: str, **parameters: Any) -> SafeString:
    """Return a link to a filtered list of the admin."""
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
    """Show the number of chosen rows, and perform the action after a confirmation.

    `queryset` has all chosen rows, of this page or of all pages. `act` returns the
    message about its result.
    """
    if request.POST.get("confirmed"):
        try:
            modeladmin.message_user(request, act(queryset), messages.SUCCESS)
        except Refusal as refusal:
            modeladmin.message_user(request, refusal.for_people, messages.ERROR)
        return None
    number = queryset.order_by().count()
    if not number:
        modeladmin.message_user(
            request, "You may not change any of these rows.", messages.WARNING
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
        "stay": request.POST.get("stay", ""),
        "noun": modeladmin.opts.verbose_name
        if number == 1
        else modeladmin.opts.verbose_name_plural,
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)
