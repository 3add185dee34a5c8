"""Filters for lists of users, groups and their objects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Model, Q, QuerySet, Value
from django.utils import timezone
from django.utils.timesince import timesince

from accounts import naming
from accounts.models import Group, Role, User
from database.search import contains
from web.admin_base import (
    DASH,
    CaseFilter,
    ChosenFilter,
)

# Most names in a filter.
OFFERED = 50


def named(term: str) -> Q:
    """Match users whose name contains a word, or equals the normalised word."""
    return contains(User, term, "name") | Q(name=naming.normalise_name(term))


def some_groups(request: Any) -> Iterable[str]:
    """Return some groups to choose from; other groups' pages link here, too."""
    return _some_names(request)[Group]


def some_roles(request: Any) -> Iterable[str]:
    """Return roles to choose from."""
    return _some_names(request)[Role]


def _some_names(request: Any) -> dict[type[Model], list[str]]:
    """Return some names of groups and roles that the reader sees.

    One query reads both, once for each request, because most lists offer both.
    """
    if not hasattr(request, "names_to_choose"):
        access = request.user.access
        groups = access.limit("list:groups", queryset=Group.objects.all())
        offered: dict[type[Model], QuerySet[Any]] = {Group: groups}
        if access.has(*Role.scope_permissions["view"]):
            offered[Role] = Role.objects.all()
        # SQLite limits the parts of a union in subqueries only.
        parts = [
            model._default_manager.order_by()
            .filter(pk__in=rows.order_by("name").values("pk")[:OFFERED])
            .values_list(Value(model.__name__), "name")
            for model, rows in offered.items()
        ]
        found = list(parts[0].union(*parts[1:], all=True))
        request.names_to_choose = {
            model: sorted(name for kind, name in found if kind == model.__name__)
            for model in (Group, Role)
        }
    names: dict[type[Model], list[str]] = request.names_to_choose
    return names


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


def some(named: Iterable[Any], number: int = 3) -> str:
    """Return a text with a few names, and the number of the others."""
    names = [each.name for each in named]
    shown = ", ".join(names[:number])
    more = len(names) - number
    return f"{shown} and {more} more" if more > 0 else shown or DASH
