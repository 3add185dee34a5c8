"""Users in the admin."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, ClassVar

from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import actions, group_actions, naming
from accounts.admin.belongings import (
    Belonging,
    belongings,
    besides,
    counted,
    note_owned,
)
from accounts.admin.filters import (
    ActivityFilter,
    GroupFilter,
    RoleFilter,
    StateFilter,
    named,
    some,
)
from accounts.admin.lists import ListForm
from accounts.administrators import keep_administrator
from accounts.group_actions import check_adding
from accounts.hosting.account_hooks import prepare_later
from accounts.models import Group, User
from accounts.rights import members_among
from audit.models import Actor
from database.locks import lock_all
from scopes.access import Access, Target
from scopes.refusals import Invalid, NotFound, Refusal
from web.admin_base import (
    DASH,
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
# Actions on accounts by the last part of the address.
ACTS = {"deactivate": actions.deactivate_users, "activate": actions.activate_users}


# What fields say of groups that the authenticator manages.
MANAGED_GROUPS = (
    "The authenticator says in which groups a person is: the person's next sign-in or"
    " refresh undoes changes made here."
)


def explain_managed(form: forms.Form | forms.ModelForm, *names: str) -> None:
    """Say in the help of these fields that changes of groups do not last."""
    if settings.HUB.manage_groups:
        for name in names:
            if name in form.fields:
                field = form.fields[name]
                field.help_text = f"{field.help_text} {MANAGED_GROUPS}"


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
        explain_managed(self, "groups")
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
                naming.normalise_name(data["name"]),
                admin=data["admin"],
                by=by,
                by_admin=by_admin,
                prepare=prepare_later,
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
            and (request.user.admin or not actions.is_administrator(user))
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
                    prepare=prepare_later,
                )
            users = {
                user.name: user for user in User.objects.filter(pk__in=made.values())
            }
            wanted = Group.objects.filter(name__in=context["groups"])
            groups = request.user.access.limit("groups", queryset=wanted)
            missing = set(context["groups"]) - {group.name for group in groups}
            if missing:
                raise Invalid(f"No such group: {', '.join(sorted(missing))}")
            check_adding(request.user.access, by, [group.name for group in groups])
            for group in groups:
                group_actions.add_members(group, [line.name for line in people], by=by)
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
        return some(user.groups.all()) if "groups" in user.shown else DASH

    @admin.display(description="Roles")
    def role_names(self, user: User) -> str:
        return some(user.roles.all()) if "roles" in user.shown else DASH

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
    check_adding(request.user.access, by, added)
    for name in added:
        group_actions.add_members(touched[name], [user.name], by=by)
    for name in removed:
        group_actions.remove_members(touched[name], [user.name], by=by)
