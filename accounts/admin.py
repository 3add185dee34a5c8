"""Users, groups and roles in the admin."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import orjson
from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.forms.fields import InvalidJSONInput
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from accounts import actions
from accounts.actions import check_adding
from accounts.administrators import keep_administrator
from accounts.models import Group, Role, User
from accounts.rights import members_among
from audit.models import Actor
from database.locks import lock_all, locked
from database.search import contains
from scopes.access import Access, Target
from scopes.grammar import describe
from scopes.refusals import Invalid, NotFound, Refusal
from web.admin_base import (
    DASH,
    CaseFilter,
    ChosenFilter,
    NamesField,
    ScopedAdmin,
    ask_first,
    count_of,
    in_a_row,
    link,
    moment,
    shows_one,
    yes,
)
from web.admin_lists import csv_text, rising
from web.form_changes import ChangesForm, Difference
from web.hosts import origin_of

DELETED = "Another person has deleted this meanwhile."

# Limits of the form: lines, and wrong lines that are repeated.
LINES = 1_000
SHOWN = 20
# Limits of a file, and of a wrong line that is repeated, in bytes and characters.
BYTES = 256 * 1024
SHORT = 60
# Most names in a filter.
OFFERED = 50

# Actions on accounts by the last part of the address.
ACTS = {"deactivate": actions.deactivate_users, "activate": actions.activate_users}


# Facts about users, which rooms to the right add.

# Counts the related rows of some users, by their ids, that an access reaches; without
# an access all.
Counter = Callable[[list[int], Access | None], dict[int, int]]


@dataclass(frozen=True, slots=True)
class Belonging:
    """Rows that belong to users or services, and are deleted with them.

    `view` is the list of such rows, and empty if there is none. Lists of owners show
    the number if it is `listed`.
    """

    noun: str
    count: Counter
    view: str = ""
    listed: bool = False


belongings: list[Belonging] = []


def note_owned(
    belongings: list[Belonging], rows: Collection[Any], request: Any, owner: str
) -> None:
    """Set the related rows of each row, with links to the lists."""
    ids = [row.pk for row in rows]
    for row in rows:
        row.owned = []
    for belonging in belongings:
        if not (belonging.listed or shows_one(request)):
            continue
        numbers = belonging.count(ids, request.user.access)
        for row in rows:
            if number := numbers.get(row.pk):
                said: Any = count_of(number, belonging.noun)
                if belonging.view:
                    said = link(belonging.view, said, **{owner: row.name})
                row.owned.append(said)


def counted(belongings: list[Belonging], rows: QuerySet[Any]) -> list[str]:
    """Return the number of all related rows, whatever the reader's rights."""
    ids = list(rows.order_by().values_list("pk", flat=True))
    numbers = [(sum(each.count(ids, None).values()), each.noun) for each in belongings]
    return [count_of(number, noun) for number, noun in numbers if number]


# Returns the HTML beside users in their list and on their page, by their ids.
Beside = Callable[[Any, Collection[User]], dict[int, SafeString]]
besides: list[Beside] = []


def count_by(rows: QuerySet[Any], *scopes: str, owner: str = "user_id") -> Counter:
    """Count rows by their owner's column, as far as one of the scopes reaches."""

    def count(ids: list[int], access: Access | None) -> dict[int, int]:
        queryset = (
            rows.all() if access is None else access.limit(*scopes, queryset=rows)
        )
        mine = queryset.order_by().filter(**{f"{owner}__in": ids})
        return dict(mine.values_list(owner).annotate(Count("pk")))

    return count


def named(term: str) -> Q:
    """Match users whose name contains a word, or equals the normalised word."""
    return contains(User, term, "name") | Q(name=actions.normalise_name(term))


def some_groups(request: Any) -> Iterable[str]:
    """Return some groups to choose from; other groups' pages link here, too."""
    reached = request.user.access.limit("list:groups", queryset=Group.objects.all())
    return reached.order_by("name").values_list("name", flat=True)[:OFFERED]


def some_roles(request: Any) -> Iterable[str]:
    """Return roles to choose from."""
    if not request.user.access.has(*Role.scope_permissions["view"]):
        return ()
    return Role.objects.values_list("name", flat=True)[:OFFERED]


class ActivityFilter(admin.SimpleListFilter):
    """Users by last activity."""

    title = "last activity"
    parameter_name = "active"

    @staticmethod
    def windows() -> dict[str, timedelta]:
        """Return for each choice the time for which a user counts as active."""
        return {
            "now": timedelta(seconds=settings.HUB.active_user_window),
            "day": timedelta(days=1),
            "week": timedelta(days=7),
            "month": timedelta(days=30),
        }

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        if not request.user.access.has("read:users:activity"):
            return []
        now = timezone.now()
        return [
            ("now", f"in the last {timesince(now - self.windows()['now'], now)}"),
            ("day", "in the last 24 hours"),
            ("week", "in the last 7 days"),
            ("month", "in the last 30 days"),
            ("earlier", "earlier"),
            ("never", "never"),
        ]

    def queryset(self, request: Any, queryset: QuerySet[User]) -> QuerySet[User]:
        value = self.value()
        if not value:
            return queryset
        queryset = request.user.access.limit("read:users:activity", queryset=queryset)
        if value == "never":
            return queryset.filter(last_activity=None)
        windows = self.windows()
        since = timezone.now() - windows.get(value, windows["month"])
        if value == "earlier":
            return queryset.filter(last_activity__lt=since)
        return queryset.filter(last_activity__gte=since)


class StateFilter(CaseFilter):
    """Users by whether they are active."""

    title = "state"
    parameter_name = "state"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {
            "active": ("active", Q(is_active=True)),
            "deactivated": ("deactivated", Q(is_active=False)),
        }


class MemberFilter(ChosenFilter):
    """Groups of one user."""

    title = "member"
    parameter_name = "user"

    def belonging(self, queryset: QuerySet[Group], name: str) -> QuerySet[Group]:
        memberships = User.groups.through.objects.filter(user__name=name)
        return queryset.filter(pk__in=memberships.values("group_id"))


class GroupFilter(ChosenFilter):
    """Members of one group."""

    title = "group"
    parameter_name = "group"

    def offered(self, request: Any) -> Iterable[str]:
        return some_groups(request)

    def belonging(self, queryset: QuerySet[User], name: str) -> QuerySet[User]:
        members = User.groups.through.objects.filter(group__name=name)
        return queryset.filter(pk__in=members.values("user_id"))


class RoleFilter(ChosenFilter):
    """Users or groups that have one role directly."""

    title = "role"
    parameter_name = "role"

    def offered(self, request: Any) -> Iterable[str]:
        return some_roles(request)

    def belonging(self, queryset: QuerySet[Any], name: str) -> QuerySet[Any]:
        model = queryset.model
        held = model.roles.through.objects.filter(role__name=name)
        return queryset.filter(pk__in=held.values(f"{model._meta.model_name}_id"))


class UserForm(ChangesForm):
    """A user with the groups that the reader may change."""

    groups = NamesField(required=False, help_text="Names of groups, one per line.")
    within_reach: ClassVar[list[str]] = []

    class Meta:
        model = User
        fields = ("name", "admin", "email")
        labels = {"admin": "Administrator", "email": "E-mail address"}  # noqa: RUF012
        help_texts = {  # noqa: RUF012
            "admin": "Holds the role admin: may see and change everything here.",
            "email": "Address for the link to a new password.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["groups"] = self.within_reach
        if self.instance.pk is None:
            # A field of one line would join the lines of a list into one name.
            name = self.fields["name"]
            name.widget = forms.Textarea({"rows": 1, "spellcheck": "false"})
            name.validators = []

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if self.instance.pk is None:
            parts = [part for part in re.split(r"[\r\n\t,;]", name) if part.strip()]
            number = max(len(parts), len(name.split()) - 1)
            if number > 1:
                raise forms.ValidationError(
                    "This is more than one name. Many users are added with "
                    "“Add a list of users” above the list of users."
                )
        return name


def _sessions(ids: list[int], access: Access | None) -> dict[int, int]:
    """Count the sessions of users whom an access may change."""
    users = User.objects.filter(pk__in=ids)
    if access is not None:
        users = access.limit("admin:users", queryset=users)
    sessions = UserSession.objects.filter(user__in=users.order_by().values("pk"))
    return dict(sessions.order_by().values_list("user_id").annotate(Count("pk")))


belongings.append(Belonging("session", _sessions))


@admin.register(User)
class UserAdmin(ScopedAdmin):
    table = "user"
    kind = "user"
    form = UserForm
    search_help_text = "Any part of a name"

    list_display = (
        *("name", "state", "is_admin", "group_names", "role_names", "seen"),
        *("servers", "owned"),
    )
    exported = (
        *("name", "state", "is_admin", "all_groups", "all_roles", "last_seen"),
        "since",
    )
    list_filter = (
        StateFilter,
        ("admin", admin.BooleanFieldListFilter),
        ActivityFilter,
        GroupFilter,
        RoleFilter,
    )
    # The API does not show the state; here every reader of a user sees it, as the time
    # of creation.
    telling: ClassVar[dict[str, str]] = {
        **{"admin": "admin", "group": "groups", "role": "roles"},
        "state": "created",
    }
    ordering = ("name",)
    actions = ("deactivate_users", "activate_users", "delete_users")
    readonly_fields = (
        *("state", "is_admin", "group_names", "role_names", "seen", "since"),
        "owned",
    )

    def get_queryset(self, request: Any) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups", "roles")

    def entitled(
        self, request: Any, queryset: QuerySet[User], parameter: str
    ) -> QuerySet[User]:
        if parameter == "group":
            # A reader of a group's members may filter users by the group, too.
            group = Target(group=request.GET["group"])
            if request.user.access.allows("read:groups", obj=group):
                return queryset
        return super().entitled(request, queryset, parameter)

    def get_sortable_by(self, request: Any) -> tuple[str, ...]:
        if request.user.access.has("read:users:activity"):
            return ("name", "seen")
        return ("name",)

    def search(self, term: str) -> Q:
        # Older links have a star in front, which has no meaning any more.
        part = term.lstrip("*")
        return named(part) if part else Q()

    def mark_shown(self, request: Any, rows: Collection[User]) -> None:
        """Set also the related rows, and the facts that rooms to the right add."""
        super().mark_shown(request, rows)
        note_owned(belongings, rows, request, "user")
        beside = [each(request, rows) for each in besides]
        for user in rows:
            user.beside = [part[user.pk] for part in beside if user.pk in part]
            number = len(user.groups.all()) if "groups" in user.shown else 0
            if number and shows_one(request):
                said = count_of(number, "group")
                where = link("accounts_group_changelist", said, user=user.name)
                user.owned.append(where)

    def going(self, rows: QuerySet[User]) -> list[str]:
        return counted(belongings, rows)

    def get_fields(self, request: Any, obj: User | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "admin", "groups")
        about = ("role_names", "state", "seen", "since", "owned")
        if not self.has_change_permission(request, obj):
            return ("name", "is_admin", "group_names", *about)
        # A password link by mail gives the same access as one that is shown.
        mailed = settings.MAILS_LINKS and self.may_invite(request, obj)
        return ("name", "admin", *(["email"] if mailed else []), "groups", *about)

    def get_form(
        self, request: Any, obj: User | None = None, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, **kwargs)
        form.within_reach = [] if obj is None else sorted(_changeable(request, obj))
        return form

    def save_model(
        self, request: Any, obj: User, form: forms.ModelForm, change: bool
    ) -> None:
        with keep_administrator():
            self.save_user(request, obj, form, change)

    def save_user(
        self, request: Any, obj: User, form: forms.ModelForm, change: bool
    ) -> None:
        by, by_admin = Actor.of_request(request), request.user.admin
        data = form.cleaned_data
        if change:
            groups_named = {*data["groups"], *_changeable(request, obj)}
            lock_all(Group.objects.filter(name__in=groups_named))
            user = actions.lock_user(obj, by)[0]
            if user is None:
                raise NotFound(DELETED)
            changes = form.changes(
                {
                    "name": user.name,
                    "admin": user.admin,
                    "email": user.email,
                    "groups": sorted(_changeable(request, user)),
                }
            )
            actions.update_user(
                user,
                name=changes.get("name"),
                admin=changes.get("admin"),
                by=by,
                by_admin=by_admin,
            )
            if "email" in changes:
                actions.set_email(user, changes["email"], by=by)
            groups = changes.get("groups", Difference([], []))
        else:
            user = actions.create_user(
                actions.normalise_name(data["name"]),
                admin=data["admin"],
                by=by,
                by_admin=by_admin,
            )
            obj.pk = user.pk
            obj.name = user.name
            groups = Difference(data["groups"], [])
        _change_groups(request, user, groups)

    def get_urls(self) -> list[Any]:
        invite = self.admin_site.admin_view(self.invite_view)
        view = self.admin_site.admin_view(self.set_active_view)
        many = self.admin_site.admin_view(self.list_view)
        return [
            path("add-list/", many, name="accounts_user_add_list"),
            path("<int:pk>/invite/", invite, name="accounts_user_invite"),
            *(
                path(f"<int:pk>/{act}/", view, {"act": act}, f"accounts_user_{act}")
                for act in ACTS
            ),
            *super().get_urls(),
        ]

    def may_invite(self, request: Any, user: User) -> bool:
        """Tell whether the reader may create a sign-in link for that user.

        The link gives the same access as a token for that user, so it needs the same
        scope, under the same rule about filters. It is useful only if the hub itself
        stores passwords. Passwords of administrators are for administrators.
        """
        return (
            settings.HUB.authenticator_class == "local"
            and (request.user.admin or not user.admin)
            and self.has_change_permission(request, user)
            and request.user.access.allows("tokens", obj=user)
            and (
                user.pk == request.user.pk
                or request.user.access.may_hand_out(
                    user.scopes_beyond_role_user, "tokens", members_among
                )
            )
        )

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        user = context.get("original")
        context["servers"] = self.servers(user) if user and user.beside else ""
        context["may_invite"] = user is not None and self.may_invite(request, user)
        context["may_set_active"] = (
            user is not None
            and self.settable(request, User.objects.filter(pk=user.pk)).exists()
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def invite_view(self, request: Any, pk: int) -> HttpResponse:
        """Create a link to set a password, and show it in this response only."""
        user = self.get_object(request, str(pk))
        if user is None:
            raise Http404
        if request.method != "POST" or not self.may_invite(request, user):
            raise PermissionDenied
        link = actions.invite_user(
            user, by=Actor.of_request(request), by_admin=request.user.admin
        )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Link for {user.name}",
            "name": user.name,
            "link": f"{origin_of(request)}{link}",
        }
        response = TemplateResponse(
            request, "admin/accounts/user/invited.html", context
        )
        response["Cache-Control"] = "no-store"
        return response

    # Many at once

    def list_view(self, request: Any) -> HttpResponse:
        """Add a pasted list: show a preview with existing users and errors, then add.

        Sign-in links are in the response that creates them, and nowhere else.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ListForm(request.POST or None, request.FILES or None)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Add a list of users",
            "form": form,
            "may_link": settings.HUB.authenticator_class == "local"
            and request.user.access.allows("tokens"),
            "may_mail": settings.MAILS_LINKS and request.user.access.allows("tokens"),
        }
        if form.is_valid():
            lines = form.cleaned_data["lines"]
            new = [line for line in lines if not line.exists and not line.problem]
            context |= {
                "text": form.cleaned_data["text"],
                "groups": form.cleaned_data["groups"],
                "new": new,
                "existing": [line for line in lines if line.exists],
                "odd": [line for line in lines if line.problem],
            }
            if "_add" in request.POST:
                try:
                    return self.add_list(request, context)
                except Refusal as refusal:
                    form.add_error(None, refusal.message)
        return TemplateResponse(request, "admin/accounts/user/add_list.html", context)

    def add_list(self, request: Any, context: dict[str, Any]) -> HttpResponse:
        """Create the new users, add all to the groups, and show the links."""
        by = Actor.of_request(request)
        people = [*context["new"], *context["existing"]]
        with transaction.atomic():
            made: dict[str, int] = {}
            if context["new"]:
                made = actions.create_users(
                    [line.name for line in context["new"]],
                    by=by,
                    by_admin=request.user.admin,
                )
            users = {
                user.name: user for user in User.objects.filter(pk__in=made.values())
            }
            wanted = Group.objects.filter(name__in=context["groups"])
            groups = request.user.access.limit("groups", queryset=wanted)
            missing = set(context["groups"]) - {group.name for group in groups}
            if missing:
                raise Invalid(f"No such group: {', '.join(sorted(missing))}")
            for group in groups:
                actions.add_members(group, [line.name for line in people], by=by)
            rows = []
            for line in context["new"]:
                user = users.get(line.name)
                if user is None:
                    continue
                if line.email and context["may_mail"]:
                    actions.set_email(user, line.email, by=by)
                sign_in = ""
                if context["may_link"] and request.POST.get("links"):
                    path = actions.invite_user(user, by=by, by_admin=request.user.admin)
                    sign_in = f"{origin_of(request)}{path}"
                rows.append((line, sign_in))
        table = csv_text(
            [("name", "email", "link")],
            ((line.name, line.email, sign_in) for line, sign_in in rows),
        )
        context |= {
            "title": f"Added {count_of(len(rows), 'user')}",
            "rows": rows,
            "table": table,
            "has_links": any(sign_in for _, sign_in in rows),
        }
        response = TemplateResponse(
            request, "admin/accounts/user/added_list.html", context
        )
        response["Cache-Control"] = "no-store"
        return response

    # Deactivation and activation

    def settable(self, request: Any, queryset: QuerySet[User]) -> QuerySet[User]:
        """Keep the users whom the reader may deactivate and activate."""
        users = self.reachable(request, "change", queryset).exclude(pk=request.user.pk)
        return users if request.user.admin else users.filter(admin=False)

    def set_active(self, request: Any, users: QuerySet[User], act: str) -> str:
        """Do one of `ACTS` to users, and return a message with their number."""
        by, by_admin = Actor.of_request(request), request.user.admin
        number = ACTS[act](users, by=by, by_admin=by_admin, within=keep_administrator)
        return f"{act.capitalize()}d {number} user{'' if number == 1 else 's'}."

    def set_active_view(self, request: Any, pk: int, act: str) -> HttpResponse:
        user = self.get_object(request, str(pk))
        if user is None:
            raise Http404
        users = self.settable(request, User.objects.filter(pk=pk))
        if request.method != "POST" or not users.exists():
            raise PermissionDenied
        try:
            self.message_user(request, self.set_active(request, users, act))
        except Refusal as refusal:
            self.message_user(request, refusal.message, messages.ERROR)
        return HttpResponseRedirect(reverse("admin:accounts_user_change", args=[pk]))

    def ask_to_set_active(
        self, request: Any, queryset: QuerySet[User], act: str, warning: str
    ) -> HttpResponse | None:
        def perform(users: QuerySet[User]) -> str:
            return self.set_active(request, users, act)

        others = queryset.filter(is_active=act == "deactivate")
        users = self.settable(request, others)
        if others.exclude(pk__in=users.order_by().values("pk")).exists():
            warning += (
                " Your own account and accounts that you may not change are left "
                "out, because only administrators change administrators."
            )
        return ask_first(
            self,
            request,
            users,
            title=f"{act.capitalize()} users",
            verb=act.capitalize(),
            warning=warning,
            act=perform,
        )

    @admin.action(description="Deactivate the selected users", permissions=["change"])
    def deactivate_users(
        self, request: Any, queryset: QuerySet[User]
    ) -> HttpResponse | None:
        return self.ask_to_set_active(
            request,
            queryset,
            "deactivate",
            "Their sessions end, and they can't sign in nor use their tokens until "
            "they are activated again.",
        )

    @admin.action(description="Activate the selected users", permissions=["change"])
    def activate_users(
        self, request: Any, queryset: QuerySet[User]
    ) -> HttpResponse | None:
        return self.ask_to_set_active(
            request,
            queryset,
            "activate",
            "They can sign in and use their tokens again.",
        )

    def delete_model(self, request: Any, obj: User) -> None:
        with keep_administrator():
            actions.delete_user(obj, by=Actor.of_request(request))

    @admin.action(description="Delete the selected users", permissions=["delete"])
    def delete_users(
        self, request: Any, queryset: QuerySet[User]
    ) -> HttpResponse | None:
        def act(users: QuerySet[User]) -> str:
            number = actions.delete_users(
                users, by=Actor.of_request(request), within=keep_administrator
            )
            return f"Deleted {count_of(number, 'user')}."

        doomed = self.reachable(request, "delete", queryset)
        going = [] if request.POST.get("confirmed") else self.going(doomed)
        return ask_first(
            self,
            request,
            doomed,
            title="Delete users",
            verb="Delete",
            warning=f"This also deletes {in_a_row(going)}." if going else "",
            act=act,
        )

    # Columns and fields

    @admin.display(description="State")
    def state(self, user: User) -> SafeString | str:
        if self.telling["state"] not in user.shown:
            return DASH
        look, word = "disabled", "deactivated"
        if user.is_active:
            look, word = "in-force", "active"
        return format_html('<span class="state {}">{}</span>', look, word)

    @admin.display(description="Administrator")
    def is_admin(self, user: User) -> str:
        return yes(user.admin and "admin" in user.shown)

    @admin.display(description="Groups")
    def group_names(self, user: User) -> str:
        return _some(user.groups.all()) if "groups" in user.shown else DASH

    @admin.display(description="Roles")
    def role_names(self, user: User) -> str:
        return _some(user.roles.all()) if "roles" in user.shown else DASH

    @admin.display(description="Last activity", ordering=rising("last_activity"))
    def seen(self, user: User) -> SafeString | str:
        return moment(user.last_activity if "last_activity" in user.shown else None)

    @admin.display(description="Created")
    def since(self, user: User) -> SafeString | str:
        return moment(user.created if "created" in user.shown else None)

    @admin.display(description="Groups")
    def all_groups(self, user: User) -> str:
        shown = "groups" in user.shown
        return " ".join(group.name for group in user.groups.all()) if shown else DASH

    @admin.display(description="Roles")
    def all_roles(self, user: User) -> str:
        shown = "roles" in user.shown
        return " ".join(role.name for role in user.roles.all()) if shown else DASH

    @admin.display(description="Last activity")
    def last_seen(self, user: User) -> Any:
        return user.last_activity if "last_activity" in user.shown else DASH

    @admin.display(description="Servers")
    def servers(self, user: Any) -> SafeString | str:
        return format_html_join("", "{}", ((part,) for part in user.beside)) or DASH

    @admin.display(description="Has")
    def owned(self, user: Any) -> SafeString | str:
        return format_html_join(", ", "{}", ((part,) for part in user.owned)) or DASH


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


def _spelt(names: list[str]) -> str:
    """Return a text with unknown names; of many names the first."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a pasted list: a name, perhaps an e-mail address, and its errors."""

    name: str
    email: str = ""
    exists: bool = False
    problem: str = ""


class ListForm(forms.Form):
    """A list of people, pasted or as a file, one on each line."""

    people = forms.CharField(
        required=False,
        label="People",
        widget=forms.Textarea({"rows": 10, "cols": 40, "spellcheck": "false"}),
        help_text="One name on each line, perhaps with an e-mail address after a "
        "comma, semicolon, tab or blank.",
    )
    file = forms.FileField(
        required=False, label="Or a file", help_text="Text or CSV, in UTF-8."
    )
    groups = NamesField(
        required=False, help_text="Names of groups for all of them, one per line."
    )

    def clean_file(self) -> str:
        file = self.cleaned_data["file"]
        if file is None:
            return ""
        if file.size > BYTES:
            raise forms.ValidationError(
                f"The file is larger than {BYTES // 1024:,} kB. Send it in parts."
            )
        try:
            return str(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise forms.ValidationError(
                "The file is not text in UTF-8. Save it as CSV in UTF-8."
            ) from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        text = "\n".join(filter(None, (data.get("people"), data.get("file"))))
        lines = [line for line in text.splitlines() if line.strip()]
        if "\0" in text:
            raise forms.ValidationError("A list can't hold a NUL character.")
        if len(lines) > LINES:
            raise forms.ValidationError(
                f"These are {len(lines):,} lines; a list takes {LINES:,} at most. "
                "Send it in parts."
            )
        if not lines and not self.errors:
            raise forms.ValidationError("Paste names, or choose a file.")
        data["text"] = "\n".join(lines)
        data["lines"] = read_lines(lines)
        return data


def read_lines(lines: list[str]) -> list[Line]:
    """Return the people of a list, once each, with the errors of their lines."""
    found: dict[str, Line] = {}
    for text in lines:
        parts = [
            part for part in re.split(r"[,;\t ]+", text.strip().strip('"')) if part
        ]
        name = actions.normalise_name(parts[0].strip('"')) if parts else ""
        email = parts[1].strip('"') if len(parts) > 1 else ""
        problem = ""
        if not actions.is_valid_name(name):
            problem = "is not a username"
        elif len(parts) > 2:
            problem = "has more than a name and an e-mail address"
        elif email:
            try:
                validate_email(email)
            except forms.ValidationError:
                problem = f"{email[:SHORT]} is no e-mail address"
        key = name if not problem else text
        if key in found:
            continue
        found[key] = Line(name if not problem else text[:SHORT], email, False, problem)
    names = [line.name for line in found.values() if not line.problem]
    there = set(names) - set(actions.unknown_users(names))
    return [
        replace(line, exists=not line.problem and line.name in there)
        for line in found.values()
    ]


def few_enough(names: list[str]) -> list[str]:
    """Refuse more names than one form may contain."""
    if len(names) > LINES:
        raise forms.ValidationError(
            f"These are {len(names):,} names; a form takes {LINES:,} at most. "
            "Paste the list in parts."
        )
    return names


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
        if not change:
            group = actions.create_group(
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
            check_adding(request.user.access, by, group)
            actions.add_members(group, added, by=by)
        if data.get("remove_members"):
            removed = self.known(request, data["remove_members"])
            actions.remove_members(group, removed, by=by)
        if "properties" in changes:
            actions.set_properties(group, changes["properties"], by=by)

    def known(self, request: Any, names: list[str]) -> list[str]:
        """Return the names that have a user; leave out others if that was chosen."""
        missing = actions.unknown_users(names)
        if not missing:
            return names
        known = [name for name in names if name not in set(missing)]
        if "_known" not in request.POST:
            request.offer = bool(known)
            raise Invalid(
                f"No such user: {_spelt(missing)}. Of {len(names):,} names "
                f"{len(known):,} have a user. Nothing was changed."
            )
        self.message_user(
            request, f"Left out, because there is no such user: {_spelt(missing)}."
        )
        return known

    def render_change_form(
        self, request: Any, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["offer"] = getattr(request, "offer", False)
        return super().render_change_form(request, context, *args, **kwargs)

    def delete_model(self, request: Any, obj: Group) -> None:
        with keep_administrator():
            actions.delete_group(obj, by=Actor.of_request(request))

    @admin.action(description="Delete the selected groups", permissions=["delete"])
    def delete_groups(
        self, request: Any, queryset: QuerySet[Group]
    ) -> HttpResponse | None:
        def act(groups: QuerySet[Group]) -> str:
            number = actions.delete_groups(
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
        return _some(group.roles.all()) if "roles" in group.shown else DASH

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


@admin.register(Role)
class RoleAdmin(ScopedAdmin):
    """Roles, read only, because the configuration declares them and their holders."""

    kind = "role"
    search_help_text = "Any part of a name or description"
    searched = ("name", "description")

    list_display = ("name", "description", "holders")
    exported = ("name", "description", "all_scopes")
    ordering = ("name",)
    sortable_by = ("name",)
    fields = ("name", "description", "in_words", "holders")
    readonly_fields = ("in_words", "holders")

    def search(self, term: str) -> Q:
        return contains(Role, term, *self.searched, indexed=False)

    @admin.display(description="Scopes")
    def all_scopes(self, role: Role) -> str:
        return " ".join(role.scopes)

    @admin.display(description="Scopes")
    def in_words(self, role: Role) -> SafeString | str:
        if not role.scopes:
            return DASH
        items = format_html_join(
            "",
            "<dt><code>{}</code></dt><dd>{}</dd>",
            ((scope, describe(scope)) for scope in role.scopes),
        )
        return format_html('<dl class="scopes">{}</dl>', items)

    @admin.display(description="Held by")
    def holders(self, role: Role) -> SafeString:
        def to(view: str, noun: str) -> SafeString:
            text = format_html(
                '{} <span class="visually-hidden">with role {}</span>', noun, role
            )
            return link(view, text, role=role.name)

        return format_html(
            "{} · {} · {}",
            to("accounts_user_changelist", "Users"),
            to("accounts_group_changelist", "Groups"),
            to("services_service_changelist", "Services"),
        )


def _some(named: Iterable[Any], number: int = 3) -> str:
    """Return a text with a few names, and the number of the others."""
    names = [each.name for each in named]
    shown = ", ".join(names[:number])
    more = len(names) - number
    return f"{shown} and {more} more" if more > 0 else shown or DASH


def _changeable(request: Any, user: User) -> set[str]:
    """Return the groups of a user whose members the reader may change."""
    groups = request.user.access.limit("groups", queryset=user.groups.order_by())
    return set(groups.values_list("name", flat=True))


def _change_groups(request: Any, user: User, groups: Difference) -> None:
    """Add a user to groups and remove the user from others, all within reach.

    Groups that are deleted, or need no change, are skipped.
    """
    by = Actor.of_request(request)
    current = _changeable(request, user)
    added = sorted(set(groups.added) - current)
    removed = sorted(current.intersection(groups.removed))
    touched = {
        group.name: group
        for group in request.user.access.limit(
            "groups", queryset=Group.objects.filter(name__in=[*added, *removed])
        )
    }
    unknown = [name for name in added if name not in touched]
    if unknown:
        raise Invalid(f"No such group: {', '.join(unknown)}")
    for name in added:
        check_adding(request.user.access, by, touched[name])
        actions.add_members(touched[name], [user.name], by=by)
    for name in removed:
        actions.remove_members(touched[name], [user.name], by=by)
