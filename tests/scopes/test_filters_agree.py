"""A list and a detail page agree: `limit` and `allows` over real rows."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Model
from django.utils import timezone

from accounts.models import Group, User
from scopes.access import Access, Target
from scopes.definitions import SCOPES
from scopes.grammar import KINDS
from servers.models import Server
from services.models import Service
from tests.factories import (
    make_client,
    make_group,
    make_server,
    make_service,
    make_share,
    make_token,
    make_user,
)
from tokens.models import APIToken, TokenRequest

pytestmark = pytest.mark.django_db

FILTERS = (
    "!user=ada",
    "!user=bob",
    "!user=Ada",
    "!user=math",
    "!group=math",
    "!group=art",
    "!group=empty",
    "!group=ada",
    "!server=ada/",
    "!server=ada/lab",
    "!server=bob/lab",
    "!server=ada",
    "!server=ada/lab/x",
    "!service=ci",
    "!service=ada",
)
MODELS = [model for model in apps.get_models() if hasattr(model, "scope_filters")]
HELD = list(chain([()], combinations(FILTERS, 1), combinations(FILTERS, 2)))


@pytest.fixture
def world() -> None:
    ada, bob, eve = (make_user(name) for name in ("ada", "bob", "eve"))
    make_group("math", users=[ada, bob])
    make_group("art", users=[ada])
    make_group("empty")
    services = [make_service("ci"), make_service("cd")]
    for service in services:
        make_client(service.name, service=service)
    for user, friend in ((ada, bob), (bob, eve)):
        make_server(user)
        lab = make_server(user, "lab")
        make_share(lab, user=friend, scopes=["access:servers"])
        lab.share_codes.create(public_id=user.name, expires_at=timezone.now())
        TokenRequest.objects.create(user=user)
    for owner in (ada, ada, bob, eve, *services):
        make_token(owner)


def test_every_model_that_answers_to_filters_is_asked() -> None:
    assert {User, Group, Service, Server, APIToken} <= set(MODELS)


@pytest.mark.parametrize("model", apps.get_models())
def test_permissions_stand_for_scopes_that_exist(model: type[Model]) -> None:
    declared = getattr(model, "scope_permissions", {})

    assert set(declared) <= {"view", "add", "change", "delete"}
    assert {scope for scopes in declared.values() for scope in scopes} <= set(SCOPES)
    assert set(getattr(model, "scope_filters", {})) <= KINDS


@pytest.mark.parametrize("model", MODELS)
def test_limit_keeps_what_allows_allows(model: type[Model], world: None) -> None:
    rows: list[Any] = list(model._default_manager.all())
    assert rows
    for held in HELD:
        access = Access.of(f"read:users{filtering}" for filtering in held)

        kept = access.limit("read:users", queryset=model._default_manager.all())

        allowed = [row.pk for row in rows if access.allows("read:users", obj=row)]
        assert sorted(row.pk for row in kept) == sorted(allowed), held


@pytest.mark.parametrize("model", MODELS)
def test_each_kind_of_filter_that_a_model_declares_finds_rows(
    model: type[Model], world: None
) -> None:
    for kind in model.scope_filters:  # type: ignore[attr-defined]
        matching = [
            filtering
            for filtering in FILTERS
            if filtering.startswith(f"!{kind}=")
            and Access.of([f"a{filtering}"])
            .limit("a", queryset=model._default_manager.all())
            .exists()
        ]
        assert matching, kind


def test_unfiltered_scopes_leave_the_query_alone(world: None) -> None:
    queryset = User.objects.all()

    assert Access.of(["a"]).limit("a", "b", queryset=queryset) is queryset


def test_scopes_not_held_leave_no_row(
    world: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert not Access.of(["a"]).limit("b", queryset=User.objects.all())


def test_a_target_answers_as_its_row_does(world: None) -> None:
    for held in HELD:
        access = Access.of(f"a{filtering}" for filtering in held)
        for user in User.objects.all():
            groups = [group.name for group in user.groups.all()]
            assert access.allows("a", obj=user) == access.allows(
                "a", obj=Target(user=user.name, group=groups)
            )
        for server in Server.objects.select_related("user"):
            groups = [group.name for group in server.user.groups.all()]
            full_name = f"{server.user.name}/{server.name}"
            assert access.allows("a", obj=server) == access.allows(
                "a",
                obj=Target(user=server.user.name, server=full_name, group=groups),
            )


def test_a_row_matched_twice_is_listed_once(world: None) -> None:
    access = Access.of(["a!group=math", "a!group=art", "a!user=ada"])

    names = access.limit("a", queryset=User.objects.all()).values_list("name")

    assert sorted(name for (name,) in names) == ["ada", "bob"]


def test_prefetched_rows_cost_no_query(
    world: None, django_assert_num_queries: Any
) -> None:
    users = list(User.objects.prefetch_related("groups"))

    with django_assert_num_queries(0):
        found = [
            user for user in users if Access.of(["a!group=math"]).allows("a", obj=user)
        ]

    assert len(found) == 2
