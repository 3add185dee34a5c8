"""Users in the admin."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import actions, group_actions, naming
from accounts.admin.activation import ActivatingAdmin
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
from accounts.admin.invitations import InvitingAdmin
from accounts.admin.lists import ListAddingAdmin
from accounts.admin.user_form import UserForm
from accounts.administrators import keep_administrator
from accounts.group_actions import check_adding
from accounts.hosting.account_hooks import prepare_later
from accounts.models import Group, User
from audit.models import Actor
from database.locks import lock_all
from scopes.access import Access, Target
from scopes.refusals import Invalid, NotFound
from web.admin_base import (
    DASH,
    ask_first,
    count_of,
    in_a_row,
    link,
    moment,
    shows_one,
    yes,
)
from web.admin_lists import rising
from web.form_changes import Difference

DELETED = "Another person has deleted this meanwhile."


def _sessions(ids: list[int], access: Access | None) -> dict[int, int]:
    """Count the sessions of users whom an access may change."""
    users = User.objects.filter(pk__in=ids)
    if access is not None:
        users = access.limit("admin:users", queryset=users)
    sessions = UserSession.objects.filter(user__in=users.order_by().values("pk"))
    return dict(sessions.order_by().values_list("user_id").annotate(Count("pk")))


belongings.append(Belonging("session", _sessions))


@admin.register(User)
class UserAdmin(ListAddingAdmin, InvitingAdmin, ActivatingAdmin):
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
