"""Users in the API: lists, single users, and their last activity.

A user's JSON is made from one row of one statement, alone or in a list of two hundred.
The statement is the same for all callers; the template of a caller with fewer rights
leaves keys out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial
from typing import Any, ClassVar

import orjson
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend

from accounts import auth_state
from accounts.actions import (
    create_user,
    create_users,
    delete_user,
    refuse_own_deletion,
    update_user,
)
from accounts.hosting.account_hooks import prepare_accounts
from accounts.models import User
from accounts.naming import normalise_name
from accounts.search import name_contains
from api.base import APIRequest, HubAPIView, argument, empty
from api.bodies import (
    LARGEST_WITH_NAMES,
    BodySerializer,
    Flag,
    Names,
    Object,
    Text,
    check_names,
)
from api.jsontext import dialect
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination, Window
from api.renderers import json_response
from api.serializers import ErrorSerializer, UserSerializer
from api.servers import default_server, patience, server_json
from database.statements import all_rows, first_row, vendor_in_use
from scopes.access import Access, Target, View
from scopes.refusals import Invalid, NotFound
from servers.actions import stop_servers
from servers.activity import note_activity
from servers.models import ACTIVE, Server, server_url
from servers.rights import user_target
from servers.waiting import until_settled
from tokens import activity
from web.deferred import Deferred
from web.outside import waits_for_others

# Statements are made of constants; input is passed as parameters.
# ruff: noqa: S608

READ = (
    "read:users",
    "read:users:name",
    "read:servers",
    "read:users:groups",
    "read:users:activity",
    "read:roles:users",
)


class UserBodySerializer(BodySerializer):
    """The fields of a user in a request."""

    noun = "user"

    name = Text()
    admin = Flag()
    groups = Names()
    roles = Names()
    auth_state = Object()


class NewUserSerializer(UserBodySerializer):
    """The fields of a new user; the body may be empty."""

    is_required = False

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return super().run_validation(data or {})


class ChangedUserSerializer(UserBodySerializer):
    """The changes of a user."""

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        changes = super().run_validation(data)
        for key in ("groups", "roles"):
            if key in changes:
                raise Invalid(f"user.{key} can't be changed here; {INSTEAD[key]}.")
        if "auth_state" in changes:
            auth_state.check(changes["auth_state"])
        return changes


class NewUsersSerializer(BodySerializer):
    """The names of new users, and the fields that all of them get."""

    noun = "user"
    largest = LARGEST_WITH_NAMES

    usernames = Names(required=True)
    name = Text()
    admin = Flag()
    groups = Names()
    roles = Names()
    auth_state = Object()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if not isinstance(data, dict) or not data.get("usernames"):
            raise Invalid("Must specify at least one user to create")
        checked = super().run_validation(data)
        check_names(checked["usernames"], "usernames")
        return checked


INSTEAD = {
    "groups": "POST the user's name to /groups/{name}/users instead",
    "roles": "roles are given in the hub's configuration",
}


# Rows and their JSON


IS_ACTIVE = "(s.ready OR s.pending IS NOT NULL)"

# The keys that are a column each, in the order of the columns.
COLUMNS = ("name", "admin", "user_info", "roles", "groups", "created", "last_activity")
NAME, GROUPS = COLUMNS.index("name"), COLUMNS.index("groups")

# The columns of each server, with the conversion to JSON.
SERVER_COLUMNS = {
    "s.name": "string",
    "s.display_name": "string",
    "s.user_options": "value",
    "s.state": "value",
    "s.pending": "string",
    "s.ready": "boolean",
    "s.started": "moment",
    "s.last_activity": "moment",
}


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A server as the statement reads it; times are text in the API's format."""

    name: str
    display_name: str
    user_options: Any
    state: Any
    pending: str | None
    ready: bool
    started: str | None
    last_activity: str | None


@cache
def columns(vendor: str, with_stopped: bool = False) -> tuple[str, ...]:
    """Return the columns of users `u`: the JSON of each, and last their servers.

    Servers are NULL if there are none, which is the common case in a list.
    """
    sql = dialect(vendor)
    active = "" if with_stopped else f" AND {IS_ACTIVE}"
    servers = sql.lists(
        SERVER_COLUMNS, f"servers_server s WHERE s.user_id = u.id{active}"
    )
    return (
        sql.string("u.name"),
        sql.boolean("u.admin"),
        sql.value("u.user_info"),
        sql.strings(
            "r.name",
            "accounts_user_roles ur JOIN accounts_role r ON r.id = ur.role_id "
            "WHERE ur.user_id = u.id",
        ),
        sql.strings(
            "g.name",
            "accounts_user_groups ug JOIN accounts_group g ON g.id = ug.group_id "
            "WHERE ug.user_id = u.id",
        ),
        sql.moment("u.created"),
        sql.moment("u.last_activity"),
        f"nullif({servers}, '[]')",
    )


def select(with_stopped: bool) -> str:
    """Return the SELECT list for users `u`."""
    return ", ".join(columns(vendor_in_use(), with_stopped))


@cache
def select_by_name(vendor: str, with_stopped: bool) -> str:
    """Return the statement that reads one user, and last the encrypted auth state."""
    kept = "(SELECT a.encrypted FROM accounts_authstate a WHERE a.user_id = u.id)"
    selected = ", ".join((*columns(vendor, with_stopped), "u.id", kept))
    return f"SELECT {selected} FROM accounts_user u WHERE u.name = %s"


@lru_cache(maxsize=256)
def template(keys: frozenset[str], with_servers: bool) -> str:
    """Return the format that converts a row to the JSON of some keys.

    A hidden column is printed with no characters. Without servers the last column
    is hidden, too; else it is the text of all keys about servers.
    """
    columns = "".join(
        f',"{key}":%s' if key in keys else "%.0s"  # one per column, visible or not
        for key in COLUMNS
    )
    rest = "%s}" if with_servers else f"%.0s{idle(keys)}"
    return f'{{"kind":"user"{columns}{rest}'


@lru_cache(maxsize=256)
def idle(keys: frozenset[str]) -> str:
    """Return the end of the JSON of a user without servers."""
    told: dict[str, Any] = {
        "server": None,
        "pending": None,
        "servers": {},
        "auth_state": None,
    }
    return f"{_inner({key: told[key] for key in told if key in keys})}}}"


class UserWriter:
    """Makes the JSON of users with the visible keys of one request."""

    def __init__(self, access: Access, with_stopped: bool) -> None:
        self.view: View = access.view("user")
        self.server_view: View = access.view("server")
        self.with_stopped = with_stopped

    def write(self, rows: Iterable[tuple[Any, ...]]) -> list[str]:
        """Return the JSON texts of users, without those that are not visible.

        A row has all `columns`.
        """
        return [text for row in rows if (text := self.write_one(row))]

    def write_one(
        self, row: tuple[Any, ...], secret: Callable[[str], Any] | None = None
    ) -> str:
        """Return the JSON text of one user; empty if the user is not visible.

        `secret` returns the auth state of the user with a name. It is called only if
        the caller may see the auth state.
        """
        keys = self.view.fixed
        if keys is None:
            name, groups = orjson.loads(row[NAME]), orjson.loads(row[GROUPS])
            keys = self.view.keys(Target(user=name, group=groups))
        if not keys:
            return ""
        is_secret_shown = secret is not None and "auth_state" in keys
        if row[-1] is None and not self.with_stopped and not is_secret_shown:
            return template(keys, False) % row
        name, groups = orjson.loads(row[NAME]), orjson.loads(row[GROUPS])
        told = self.server_members(name, groups, row[-1] or "[]", keys)
        if secret is not None and is_secret_shown:
            # By the standard library, because values may have numbers of any size.
            told["auth_state"] = orjson.Fragment(json.dumps(secret(name)))
        return template(keys, True) % (*row[:-1], _inner(told))

    def server_members(
        self, name: str, groups: Collection[str], rows: str, keys: frozenset[str]
    ) -> dict[str, Any]:
        """Return the keys about a user's servers, whose `rows` are JSON."""
        servers: dict[str, Any] = {
            server.name: server
            for server in (ServerRow(*columns) for columns in orjson.loads(rows))
        }
        default = servers.get("")
        told: dict[str, Any] = {}
        if "server" in keys:
            ready = default is not None and default.ready
            told["server"] = server_url(name, "") if ready else None
        if "pending" in keys:
            told["pending"] = default.pending if default is not None else None
        if self.with_stopped and default is None:
            servers = {"": default_server(User(name=name)), **servers}
        shown = {}
        for server in servers.values():
            seen = self.server_view.keys(
                Target(user=name, server=f"{name}/{server.name}", group=groups)
            )
            if seen:
                state = "state" in seen
                shown[server.name] = server_json(name, server, with_state=state)
        if "servers" in keys or shown:
            told["servers"] = shown
        if "auth_state" in keys:
            told["auth_state"] = None
        return told


def _inner(data: dict[str, Any]) -> str:
    """Return the members of an object as text that continues another object."""
    text = orjson.dumps(data, option=orjson.OPT_UTC_Z).decode()[1:-1]
    return f",{text}" if text else ""


def wants_stopped(request: APIRequest) -> bool:
    """Return whether stopped servers are requested; all other values mean yes."""
    value = request.query_params.get("include_stopped_servers")
    return value is not None and value.lower() not in ("0", "false")


def user_text(request: APIRequest, name: str) -> str:
    """Return the JSON text of one user with the visible keys."""
    activity.flush()
    with_stopped = wants_stopped(request)
    row = first_row(select_by_name(vendor_in_use(), with_stopped), (name,))
    if row is None:
        raise NotFound(f"No such user: {name}")
    pk, encrypted = row[-2:]
    secret = None
    if encrypted is not None:
        secret = partial(auth_state.settled, pk, encrypted=encrypted)
    return UserWriter(request.access, with_stopped).write_one(row[:-2], secret)


# Lists


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


STOPPED = OpenApiParameter(
    "include_stopped_servers",
    description="Include stopped servers; any value but 0 and false means yes.",
)


class UsersView(HubAPIView):
    """All users."""

    scopes: ClassVar = {"GET": "list:users", "POST": "admin:users"}
    serializer_classes: ClassVar = {"POST": NewUsersSerializer}
    list_of = User
    pagination_class = HubPagination
    filter_backends = (UserOrdering, StateFilter, NameFilter)

    @extend_schema(
        summary="List users", parameters=[STOPPED], responses=UserSerializer(many=True)
    )
    def get(self, request: APIRequest) -> HttpResponse:
        page = self.paginator.read(request)
        selection = Selection.reached_by(request.access)
        for backend in self.filter_backends:
            selection = backend().filter_queryset(request, selection, self)
        with_stopped = wants_stopped(request)
        writer, selected = (
            UserWriter(request.access, with_stopped),
            select(with_stopped),
        )
        activity.flush()
        total = selection.count() if page.offset else None
        rows = selection.read(selected, page.window(total))
        if total is None:
            total = page.total_after(len(rows))
        if total is None and page.enveloped:
            total = selection.count()
        texts = writer.write(rows)
        return page.json_response(f"[{','.join(texts)}]", total)

    @extend_schema(
        summary="Create users; existing ones are skipped",
        responses={201: UserSerializer(many=True), 409: ErrorSerializer},
    )
    def post(self, request: APIRequest) -> HttpResponse:
        data = self.read_body()
        names, admin = data["usernames"], data.get("admin", False)
        created = create_users(
            names,
            admin=admin,
            by=request.actor,
            by_admin=is_admin(request),
            prepare=prepare_accounts,
        )
        writer = UserWriter(request.access, False)
        rows = all_rows(
            f"SELECT {select(False)} FROM {dialect().elements('t')} "
            "JOIN accounts_user u ON u.id = CAST(t.value AS bigint) ORDER BY t.key",
            [json.dumps(as_often_as_asked(names, created))],
        )
        texts = writer.write(rows)
        return json_response(f"[{','.join(texts)}]", 201)


def as_often_as_asked(names: list[str], ids: dict[str, int]) -> list[int]:
    """Return the ids of users, repeated as often as their names are."""
    asked = (normalise_name(name) for name in names)
    return [ids[name] for name in asked if name in ids]


def is_admin(request: APIRequest) -> bool:
    """Return whether the caller has the admin flag; scopes don't count here.

    Reading the flag takes a query.
    """
    caller: Any = request.user
    return bool(caller.admin)


# One user


def require_user(name: str) -> User:
    """Return a user or raise `NotFound`."""
    user = User.objects.filter(name=name).first()
    if user is None:
        raise NotFound(f"No such user: {name}")
    return user


class OneUserView(HubAPIView):
    """The address of a user, who may not exist."""

    def get_permission_object(self) -> Target:
        return user_target(self.kwargs["name"])

    def find(self) -> User:
        """Return the user, or raise an error that becomes 404."""
        return require_user(self.kwargs["name"])


class UserView(OneUserView):
    """One user."""

    scopes: ClassVar = {
        "GET": READ,
        "POST": "admin:users",
        "PATCH": "admin:users",
        "DELETE": "delete:users",
    }
    serializer_classes: ClassVar = {
        "POST": NewUserSerializer,
        "PATCH": ChangedUserSerializer,
    }

    @extend_schema(
        summary="Return a user", parameters=[STOPPED], responses=UserSerializer
    )
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        return json_response(user_text(request, name))

    @extend_schema(
        summary="Create a user", responses={201: UserSerializer, 409: ErrorSerializer}
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        data = self.read_body()
        admin = data.get("admin", False)
        create_user(
            name,
            admin=admin,
            by=request.actor,
            by_admin=is_admin(request),
            prepare=prepare_accounts,
        )
        return json_response(user_text(request, name), 201)

    @extend_schema(
        summary="Rename a user, or change the administrator flag or the auth state",
        responses={200: UserSerializer, 409: ErrorSerializer},
    )
    def patch(self, request: APIRequest, name: str) -> HttpResponse:
        data = self.read_body()
        user = update_user(
            self.find(),
            name=data.get("name"),
            admin=data.get("admin"),
            by=request.actor,
            by_admin=is_admin(request),
        )
        if "auth_state" in data:
            auth_state.set_auth_state(user, data["auth_state"], by=request.actor)
        return json_response(user_text(request, user.name))

    @extend_schema(summary="Delete a user", responses={204: None, 400: ErrorSerializer})
    def delete(self, request: APIRequest, name: str) -> HttpResponse:
        user = self.find()
        refuse_own_deletion(user, request.actor)
        if not Server.objects.filter(ACTIVE, user=user).exists():
            return self.delete_stopped(user)
        stop_servers(Server.objects.filter(user=user), by=request.actor)
        wishes = list(Server.objects.filter(ACTIVE, user=user))
        return Deferred(partial(self.delete_when_stopped, user, wishes))

    async def delete_when_stopped(
        self, user: User, wishes: list[Server]
    ) -> HttpResponse:
        seconds = patience("stop")
        await asyncio.gather(
            *(until_settled(wish.pk, wish.generation, seconds) for wish in wishes)
        )
        return await asyncio.to_thread(self.delete_stopped, user)

    def delete_stopped(self, user: User) -> HttpResponse:
        if Server.objects.filter(user=user, pending=Server.Pending.STOP).exists():
            raise Invalid(
                f"{user.name}'s server is in the process of stopping, please wait."
            )
        delete_user(user, by=self.request.actor)
        return empty()


# Activity

# Most servers in one report. A server reports itself alone, a culler or proxy more.
MOST_REPORTED = 1_000
# Twice the length of so many servers with the longest names.
LARGEST_REPORT = 1_000_000


class ServerReportSerializer(serializers.Serializer[Any]):
    """The last activity of one server."""

    last_activity = serializers.CharField()


class ReportSerializer(BodySerializer):
    """The last activity of a user and of some servers."""

    is_closed = False
    largest = LARGEST_REPORT

    last_activity = serializers.CharField(allow_null=True, required=False)
    servers = serializers.DictField(
        child=ServerReportSerializer(), allow_null=True, required=False
    )

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return read_report(data, timezone.now())


class ActivityView(OneUserView):
    """Reports of the last activity of a user and of the user's servers."""

    scopes: ClassVar = {"POST": "users:activity"}
    serializer_classes: ClassVar = {"POST": ReportSerializer}

    @extend_schema(
        summary="Report the last activity of a user and of the user's servers",
        responses={200: None},
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        row = first_row("SELECT id FROM accounts_user WHERE name = %s", (name,))
        if row is None:
            raise NotFound(f"No such user: '{name}'")
        report = self.read_body()
        last_activity, servers = report["last_activity"], report["servers"]
        if last_activity and not servers:
            activity.users.report(row[0], last_activity)
            return empty(200)
        # Written in another thread, because writing may wait for others, and this
        # thread may serve all requests.
        return Deferred(partial(self.write, row[0], name, last_activity, servers))

    async def write(self, *report: Any) -> HttpResponse:
        await asyncio.to_thread(note_activity, *report)
        return empty(200)


def read_report(body: Any, now: datetime) -> dict[str, Any]:
    """Return the times in a report for the user and for each server."""
    if not isinstance(body, dict):
        raise Invalid("body must be a json dict")
    moment, servers = body.get("last_activity"), body.get("servers")
    if not moment and not servers:
        raise Invalid("body must contain at least one of `last_activity` or `servers`")
    if isinstance(servers, dict) and len(servers) > MOST_REPORTED:
        raise Invalid(
            f"{len(servers)} servers are too many for one report: name at most"
            f" {MOST_REPORTED}, and the others in further reports"
        )
    if servers and not (
        isinstance(servers, dict)
        and all(
            isinstance(report, dict) and report.get("last_activity")
            for report in servers.values()
        )
    ):
        raise Invalid(
            "servers must be a dict of the form "
            "{server_name: {last_activity: timestamp}}"
        )
    return {
        "last_activity": read_moment(moment, now) if moment else None,
        "servers": {
            server: read_moment(report["last_activity"], now)
            for server, report in (servers or {}).items()
        },
    }


def read_moment(text: Any, now: datetime) -> datetime:
    """Parse a timestamp; without an offset it is UTC. The far future is refused."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            f"Not a valid timestamp: {str(text)[:100]!r}; write it like "
            "2026-01-31T12:00:00Z"
        ) from None
    if moment > now + timedelta(minutes=59):
        raise Invalid(
            f"Rejecting activity from more than an hour in the future: {text[:100]}"
        )
    return moment


users, user = UsersView.as_view(), UserView.as_view()
if settings.HUB.is_hosted:
    # The class may have to prepare an account that is created.
    users, user = waits_for_others(users, "POST"), waits_for_others(user, "POST")

urlpatterns = [
    path("users", users, name="users"),
    path("users/<name:name>", user, name="user"),
    path("users/<name:name>/activity", ActivityView.as_view(), name="activity"),
]
