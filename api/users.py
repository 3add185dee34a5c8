"""Users in the API: lists and single users."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from drf_spectacular.utils import OpenApiParameter

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
from accounts.naming import is_valid_name, normalise_name
from api.base import APIRequest, HubAPIView, empty
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
from api.pagination import HubPagination
from api.renderers import json_response
from api.serializers import ErrorSerializer, UserSerializer
from api.servers import patience
from api.user_filters import NameFilter, Selection, StateFilter, UserOrdering
from api.user_json import UserWriter, select, user_text, wants_stopped
from database.statements import all_rows
from scopes.access import Target
from scopes.refusals import Invalid, NotFound
from servers.actions import stop_servers
from servers.models import ACTIVE, Server
from servers.rights import user_target
from servers.waiting import until_settled
from tokens import activity
from web.deferred import Deferred
from web.outside import waits_for_others

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
        selection = self.filter_queryset(Selection.reached_by(request.access))
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
            f"SELECT {select(False)} FROM {dialect().elements('t')} "  # noqa: S608
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
        if not is_valid_name(name):
            # JupyterHub's words; a list of new users has others.
            raise Invalid(f"Failed to create user: {name}")
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


users, user = UsersView.as_view(), UserView.as_view()

if settings.HUB.is_hosted:
    # The class may have to prepare an account that is created.
    users, user = waits_for_others(users, "POST"), waits_for_others(user, "POST")

urlpatterns = [
    path("users", users, name="users"),
    path("users/<name:name>", user, name="user"),
]
