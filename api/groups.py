"""Groups in the API: their members and properties.

The database makes a group's JSON as text, members included, so that reading a group of
ten thousand costs little more than sending the response.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any, ClassVar

import orjson
from django.http import HttpResponse
from django.urls import path

from accounts.group_actions import (
    add_members,
    check_adding,
    create_groups,
    delete_group,
    remove_members,
    set_properties,
)
from accounts.models import Group
from api.base import APIRequest, HubAPIView, empty
from api.bodies import (
    LARGEST_WITH_NAMES,
    BodySerializer,
    Names,
    Text,
    check_names,
)
from api.jsontext import dialect
from api.openapi.decorators import extend_schema
from api.pagination import HubPagination
from api.renderers import json_response
from api.serializers import ErrorSerializer, GroupSerializer
from database.statements import all_rows, first_row, vendor_in_use
from scopes.access import Access, Target
from scopes.refusals import Invalid, NotFound

# Statements are made of constants; input is passed as parameters.
# ruff: noqa: S608

READ = ("read:groups", "read:groups:name", "read:roles:groups")


class GroupBodySerializer(BodySerializer):
    """The fields of a group in a request.

    The address contains the name. A name or roles in the body are ignored.
    """

    noun = "group"
    largest = LARGEST_WITH_NAMES

    name = Text()
    users = Names()
    roles = Names()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        checked = super().run_validation(data)
        check_names(checked.get("users", []), "users")
        return checked


class NewGroupSerializer(GroupBodySerializer):
    """The fields of a new group; the body may be empty."""

    is_required = False

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        return super().run_validation({} if data is None else data)


class NewGroupsSerializer(BodySerializer):
    """The names of new groups, and the members of all of them."""

    noun = "group"
    largest = LARGEST_WITH_NAMES

    groups = Names(required=True)
    users = Names()
    name = Text()
    roles = Names()

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if not isinstance(data, dict) or not data.get("groups"):
            raise Invalid("Must specify at least one group to create")
        if isinstance(data["groups"], dict):
            # As in JupyterHub, the keys of an object are the names.
            data = {**data, "groups": list(data["groups"])}
        checked = super().run_validation(data)
        check_names(checked["groups"], "groups")
        check_names(checked.get("users", []), "users")
        return checked


class AddedMembersSerializer(GroupBodySerializer):
    """The names of users who become members."""

    verb: ClassVar = "add"

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        checked = super().run_validation(data)
        if "users" not in checked:
            raise Invalid(f"Must specify users to {self.verb}")
        return checked


class RemovedMembersSerializer(AddedMembersSerializer):
    """The names of members who are removed."""

    verb = "delete"


class PropertiesSerializer(BodySerializer):
    """Any properties."""

    is_closed = False

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise Invalid("Must specify properties: any JSON object")
        return data


COLUMNS = ("name", "properties", "users", "roles")


@cache
def select(vendor: str, with_users: bool) -> str:
    """Return the SELECT list for groups `g`: the JSON of each column."""
    sql = dialect(vendor)
    users = sql.strings(
        "u.name",
        "accounts_user_groups ug JOIN accounts_user u ON u.id = ug.user_id "
        "WHERE ug.group_id = g.id",
    )
    columns = (
        sql.string("g.name"),
        sql.value("g.properties"),
        users if with_users else "'[]'",
        sql.strings(
            "r.name",
            "accounts_group_roles gr JOIN accounts_role r ON r.id = gr.role_id "
            "WHERE gr.group_id = g.id",
        ),
    )
    return ", ".join(columns)


@cache
def select_by_name(vendor: str, with_users: bool) -> str:
    """Return the statement that reads one group."""
    selected = select(vendor, with_users)
    return f"SELECT {selected} FROM accounts_group g WHERE g.name = %s"


@lru_cache(maxsize=64)
def template(keys: frozenset[str]) -> str:
    """Return the format that converts a row to the JSON of some keys."""
    columns = "".join(
        f',"{key}":%s' if key in keys else "%.0s"  # one per column, visible or not
        for key in COLUMNS
    )
    return f'{{"kind":"group"{columns}}}'


def write_groups(rows: list[tuple[Any, ...]], access: Access) -> list[str]:
    """Return the JSON texts of groups, without those that are not visible."""
    view = access.view("group")
    texts = []
    for row in rows:
        keys = view.fixed
        if keys is None:
            keys = view.keys(Target(group=orjson.loads(row[0])))
        if keys:
            texts.append(template(keys) % row)
    return texts


def sees_members(access: Access) -> bool:
    """Return whether members may be visible, so that they have to be read."""
    return access.has("read:groups")


def group_text(request: APIRequest, name: str) -> str:
    """Return the JSON text of one group with the visible keys."""
    selected = select_by_name(vendor_in_use(), sees_members(request.access))
    row = first_row(selected, (name,))
    if row is None:
        raise NotFound(f"No such group: {name}")
    return "".join(write_groups([row], request.access)) or "{}"


class GroupsView(HubAPIView):
    """All groups."""

    scopes: ClassVar = {"GET": "list:groups", "POST": "admin:groups"}
    serializer_classes: ClassVar = {"POST": NewGroupsSerializer}
    list_of = Group
    pagination_class = HubPagination

    @extend_schema(summary="List groups", responses=GroupSerializer(many=True))
    def get(self, request: APIRequest) -> HttpResponse:
        page = self.paginator.read(request)
        where, parameters = self.reached(request.access)
        total = self.count(where, parameters) if page.offset else None
        backwards, offset, limit = page.window(total)
        order = "g.id DESC" if backwards else "g.id"
        rows = all_rows(
            f"SELECT {select(vendor_in_use(), sees_members(request.access))} "
            "FROM accounts_group g WHERE g.id IN (SELECT g.id "
            f"FROM accounts_group g {where} ORDER BY {order} "
            f"LIMIT %s OFFSET %s) ORDER BY {order}",
            [*parameters, limit, offset],
        )
        if total is None:
            total = page.total_after(len(rows))
        if total is None and page.enveloped:
            total = self.count(where, parameters)
        if backwards:
            rows.reverse()
        texts = write_groups(rows, request.access)
        return page.json_response(f"[{','.join(texts)}]", total)

    @extend_schema(
        summary="Create groups",
        responses={201: GroupSerializer(many=True), 409: ErrorSerializer},
    )
    def post(self, request: APIRequest) -> HttpResponse:
        data = self.read_body()
        names, users = data["groups"], data.get("users", [])
        if users:
            check_adding(request.access, request.actor, names)
        groups = create_groups(names, users=users, by=request.actor)
        rows = all_rows(
            f"SELECT {select(vendor_in_use(), sees_members(request.access))} "
            f"FROM {dialect().elements('t')} "
            "JOIN accounts_group g ON g.name = t.value ORDER BY t.key",
            [json.dumps([group.name for group in groups])],
        )
        texts = write_groups(rows, request.access)
        return json_response(f"[{','.join(texts)}]", 201)

    @staticmethod
    def reached(access: Access) -> tuple[str, list[Any]]:
        """Return a WHERE clause for the groups that may be listed."""
        if access.reach("list:groups") is None:
            return "", []
        groups = access.limit("list:groups", queryset=Group.objects.all())
        statement, values = groups.order_by().values("pk").query.sql_with_params()
        return f"WHERE g.id IN ({statement})", list(values)

    @staticmethod
    def count(where: str, parameters: list[Any]) -> int:
        statement = f"SELECT count(*) FROM accounts_group g {where}"
        ((count,),) = all_rows(statement, parameters)
        return count


def require_group(name: str) -> Group:
    """Return a group or raise `NotFound`."""
    group = Group.objects.filter(name=name).first()
    if group is None:
        raise NotFound(f"No such group: {name}")
    return group


class OneGroupView(HubAPIView):
    """The address of a group, which may not exist."""

    def get_permission_object(self) -> Target:
        return Target(group=self.kwargs["name"])

    def find(self) -> Group:
        """Return the group, or raise an error that becomes 404."""
        return require_group(self.kwargs["name"])


class GroupView(OneGroupView):
    """One group."""

    scopes: ClassVar = {
        "GET": READ,
        "POST": "admin:groups",
        "DELETE": "delete:groups",
    }
    serializer_classes: ClassVar = {"POST": NewGroupSerializer}

    @extend_schema(summary="Return a group", responses=GroupSerializer)
    def get(self, request: APIRequest, name: str) -> HttpResponse:
        return json_response(group_text(request, name))

    @extend_schema(
        summary="Create a group", responses={201: GroupSerializer, 409: ErrorSerializer}
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        users = self.read_body().get("users", [])
        if users:
            check_adding(request.access, request.actor, [name])
        create_groups([name], users=users, by=request.actor)
        return json_response(group_text(request, name), 201)

    @extend_schema(summary="Delete a group", responses={204: None})
    def delete(self, request: APIRequest, name: str) -> HttpResponse:
        delete_group(self.find(), by=request.actor)
        return empty()


class MembersView(OneGroupView):
    """The members of a group."""

    scopes: ClassVar = {"POST": "groups", "DELETE": "groups"}
    serializer_classes: ClassVar = {
        "POST": AddedMembersSerializer,
        "DELETE": RemovedMembersSerializer,
    }

    @extend_schema(
        summary="Add members to a group",
        responses={200: GroupSerializer, 409: ErrorSerializer},
    )
    def post(self, request: APIRequest, name: str) -> HttpResponse:
        group, names = self.find(), self.read_body()["users"]
        check_adding(request.access, request.actor, [name])
        add_members(group, names, by=request.actor)
        return json_response(group_text(request, name))

    @extend_schema(
        summary="Remove members from a group", responses={200: GroupSerializer}
    )
    def delete(self, request: APIRequest, name: str) -> HttpResponse:
        group, names = self.find(), self.read_body()["users"]
        remove_members(group, names, by=request.actor)
        return json_response(group_text(request, name))


class PropertiesView(OneGroupView):
    """The properties of a group, replaced as a whole."""

    scopes: ClassVar = {"PUT": "groups"}
    serializer_classes: ClassVar = {"PUT": PropertiesSerializer}

    @extend_schema(
        summary="Replace the properties of a group", responses=GroupSerializer
    )
    def put(self, request: APIRequest, name: str) -> HttpResponse:
        group, properties = self.find(), self.read_body()
        set_properties(group, properties, by=request.actor)
        return json_response(group_text(request, name))


urlpatterns = [
    path("groups", GroupsView.as_view(), name="groups"),
    path("groups/<name:name>", GroupView.as_view(), name="group"),
    path("groups/<name:name>/users", MembersView.as_view(), name="group-users"),
    path(
        "groups/<name:name>/properties",
        PropertiesView.as_view(),
        name="group-properties",
    ),
]
