"""Filters for lists of users, groups and their objects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
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


def some(named: Iterable[Any], number: int = 3) -> str:
    """Return a text with a few names, and the number of the others."""
    names = [each.name for each in named]
    shown = ", ".join(names[:number])
    more = len(names) - number
    return f"{shown} and {more} more" if more > 0 else shown or DASH
