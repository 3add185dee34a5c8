"""Filters and orders of the list of users."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rest_framework.filters import BaseFilterBackend

from accounts.models import User
from accounts.search import name_contains
from api.base import argument
from api.pagination import Window
from api.user_json import IS_ACTIVE
from database.statements import all_rows
from scopes.access import Access
from scopes.refusals import Invalid

# Statements are made of constants; input is passed as parameters.
# ruff: noqa: S608

# Few servers run compared to users, so their owners are selected once.
OWNERS = "(SELECT s.user_id FROM servers_server s WHERE"

STATES = {
    "active": f"u.id IN {OWNERS} {IS_ACTIVE})",
    "ready": f"u.id IN {OWNERS} s.ready)",
    "inactive": f"u.id NOT IN {OWNERS} {IS_ACTIVE})",
}

# Each order and its reverse. Users without activity come first and, reversed, last;
# SQLite sorts NULL so by default.
ORDERS = {
    "id": ("u.id", "u.id DESC"),
    "name": ("u.name", "u.name DESC"),
    "last_activity": (
        "u.last_activity NULLS FIRST, u.id",
        "u.last_activity DESC NULLS LAST, u.id DESC",
    ),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Selected users: the conditions of a WHERE clause, its parameters, the order."""

    conditions: tuple[str, ...] = ()
    parameters: tuple[Any, ...] = ()
    order: str = ""
    reverse: str = ""

    @classmethod
    def reached_by(cls, access: Access) -> Selection:
        """Return all users that may be listed with this access."""
        if access.reach("list:users") is None:
            return cls()
        reached = access.limit("list:users", queryset=User.objects.all())
        statement, values = reached.order_by().values("pk").query.sql_with_params()
        return cls().filter(f"u.id IN ({statement})", *values)

    def filter(self, condition: str, *parameters: Any) -> Selection:
        return replace(
            self,
            conditions=(*self.conditions, condition),
            parameters=(*self.parameters, *parameters),
        )

    @property
    def where(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""

    def count(self) -> int:
        statement = f"SELECT count(*) FROM accounts_user u {self.where}"
        ((count,),) = all_rows(statement, self.parameters)
        return count

    def read(self, selected: str, window: Window) -> list[tuple[Any, ...]]:
        order = self.reverse if window.backwards else self.order
        # The page is selected first, with an index if there is one, so that roles,
        # groups and servers are read for its rows only.
        rows = all_rows(
            f"SELECT {selected} FROM accounts_user u WHERE u.id IN "
            f"(SELECT u.id FROM accounts_user u {self.where} ORDER BY {order} "
            f"LIMIT %s OFFSET %s) ORDER BY {order}",
            [*self.parameters, window.limit, window.offset],
        )
        if window.backwards:
            rows.reverse()
        return rows


class UserOrdering(BaseFilterBackend):
    """Sets the requested order of a `Selection`."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        sort = argument(request, "sort", "id")
        order = ORDERS.get(sort.removeprefix("-"))
        if order is None:
            raise Invalid(
                f"sort must be 'id', 'name', or 'last_activity', not '{sort}'"
            )
        forward, reverse = order[::-1] if sort.startswith("-") else order
        return replace(queryset, order=forward, reverse=reverse)

    def get_schema_operation_parameters(self, view: Any) -> Any:
        orders = [f"{sign}{key}" for key in ORDERS for sign in ("", "-")]
        return [
            {
                "name": "sort",
                "in": "query",
                "description": "The order; a minus sign reverses it.",
                "schema": {"type": "string", "enum": orders},
            }
        ]


class StateFilter(BaseFilterBackend):
    """Limits a `Selection` to users whose servers have a state."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        state = argument(request, "state")
        if not state:
            return queryset
        if state not in STATES:
            raise Invalid(
                f"Unrecognized state filter: '{state}'; use {', '.join(STATES)}"
            )
        return queryset.filter(STATES[state])

    def get_schema_operation_parameters(self, view: Any) -> Any:
        return [
            {
                "name": "state",
                "in": "query",
                "description": "The state of the users' servers.",
                "schema": {"type": "string", "enum": ["", *STATES]},
            }
        ]


class NameFilter(BaseFilterBackend):
    """Limits a `Selection` to users whose names contain a text."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        part = argument(request, "name_filter")
        if not part:
            return queryset
        condition, patterns = name_contains(part)
        return queryset.filter(condition, *patterns)

    def get_schema_operation_parameters(self, view: Any) -> Any:
        return [
            {
                "name": "name_filter",
                "in": "query",
                "description": "A part of the users' names; letter case is ignored.",
                "schema": {"type": "string"},
            }
        ]
