"""Filters of the list of tokens in the admin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from accounts.admin.filters import some_groups, some_roles
from accounts.models import Group, User
from database.networks import address_within, any_listed_within
from scopes.definitions import SCOPES
from services.models import Service
from tokens.models import SOON, APIToken, CreatedVia, Purpose
from tokens.oddities import oddities
from tokens.policy_conditions import violating
from tokens.states import STATES, in_state
from web.admin_base import CaseFilter, ChosenFilter, TypedFilter


class StateFilter(CaseFilter):
    """Tokens by whether they can be used."""

    title = "state"
    parameter_name = "state"

    def cases(self) -> dict[str, tuple[str, Q]]:
        now = timezone.now()
        cases = {state: (state, in_state(state, now)) for state in STATES}
        soon = cases["active"][1] & Q(expires_at__lte=now + SOON)
        return {
            "active": cases.pop("active"),
            "expiring": ("expiring within a week", soon),
            **cases,
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
            **{
                f"not_{days}": (f"not in the last {days} days", unused_for(days, now))
                for days in (30, 90, 180, 365)
            },
        }


def unused_for(days: int, now: datetime) -> Q:
    """Match tokens without a use in so many days, which exist for as long."""
    since = now - timedelta(days=days)
    return Q(last_activity__lt=since) | Q(last_activity=None, created__lt=since)


class ExpiryFilter(CaseFilter):
    """Tokens by whether and when they expire."""

    title = "expiry"
    parameter_name = "expires"

    def cases(self) -> dict[str, tuple[str, Q]]:
        now = timezone.now()

        def within(days: int) -> Q:
            end = now + timedelta(days=days)
            return Q(expires_at__gt=now, expires_at__lte=end, revoked_at=None)

        return {
            "week": ("within a week", within(7)),
            "month": ("within 30 days", within(30)),
            "never": ("never expires", Q(expires_at=None)),
            "some": ("expires", Q(expires_at__isnull=False)),
        }


class PurposeFilter(CaseFilter):
    """Tokens by what they are for."""

    title = "purpose"
    parameter_name = "purpose"

    def cases(self) -> dict[str, tuple[str, Q]]:
        cases = {each.value: (each.label, Q(purpose=each)) for each in Purpose}
        # Rows of an older hub have no purpose; they are for a person.
        words, person = cases[Purpose.PERSON]
        return {**cases, Purpose.PERSON.value: (words, person | Q(purpose=""))}


class CreatedViaFilter(CaseFilter):
    """Tokens by the way in which they came to be."""

    title = "created through"
    parameter_name = "via"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return {
            **{each.value: (each.label, Q(created_via=each)) for each in CreatedVia},
            "unknown": ("not recorded", Q(created_via="")),
        }


class PolicyFilter(CaseFilter):
    """Tokens that violate a policy for their owner."""

    title = "policy"
    parameter_name = "policy"

    def cases(self) -> dict[str, tuple[str, Q]]:
        # Only the chosen case reads the policies.
        return {
            "violated": ("violated", Q()),
            "in_force": ("violated, and in force for old tokens", Q()),
        }

    def queryset(
        self, request: Any, queryset: QuerySet[APIToken]
    ) -> QuerySet[APIToken]:
        value = self.value()
        if value not in self.cases():
            return queryset
        return queryset.filter(
            violating(timezone.now(), in_force=value == "in_force"), revoked_at=None
        )


class LookFilter(CaseFilter):
    """Tokens at which somebody should look, as the overview counts them."""

    title = "worth a look"
    parameter_name = "look"

    def cases(self) -> dict[str, tuple[str, Q]]:
        return oddities(timezone.now())


class ScopeFilter(TypedFilter):
    """Tokens with a scope: by its name with any filter, or with the one typed."""

    title = "scope"
    parameter_name = "scope"
    example = "read:users, or read:users!group=data301"

    def offered(self, request: Any) -> Iterable[str]:
        return SCOPES

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        # Searched in the JSON text, which needs no table of scopes beside the tokens.
        spelt = json.dumps(name.strip())[:-1]
        text = Cast("scopes", TextField())
        condition = Q(scopes_text__contains=f'{spelt}"')
        if "!" not in name:
            condition |= Q(scopes_text__contains=f"{spelt}!")
        return queryset.alias(scopes_text=text).filter(condition)


class NetworkFilter(TypedFilter):
    """Tokens last used from a network, or limited to networks within."""

    title = "network"
    parameter_name = "network"
    example = "192.0.2.0/24"

    def belonging(self, queryset: QuerySet[APIToken], name: str) -> QuerySet[APIToken]:
        try:
            network = ip_network(name.strip(), strict=False)
        except ValueError:
            raise IncorrectLookupParameters(name) from None
        return queryset.filter(
            address_within("last_address", network)
            | any_listed_within("networks", [str(network)])
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
