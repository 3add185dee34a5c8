"""Serializers check input, and responses that are made without them agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import get_resolver
from rest_framework.serializers import Serializer

from accounts.models import Group, User
from api.base import METHODS, HubAPIView, UnknownView
from api.bodies import BodySerializer
from api.checks import views_below
from api.serializers import (
    CallingServiceSerializer,
    CallingUserSerializer,
    ErrorSerializer,
    GroupSerializer,
    IssuedShareCodeSerializer,
    IssuedTokenSerializer,
    PaginationSerializer,
    ServerSerializer,
    ServiceSerializer,
    ShareCodeSerializer,
    ShareSerializer,
    TokenSerializer,
    UserSerializer,
)
from tests.conftest import API, BearerClient
from tests.factories import make_server, make_service, make_token

pytestmark = pytest.mark.django_db

MEDIA_TYPE = {"accept": "application/jupyterhub-pagination+json"}

# Methods that change something and read no body, with the reason.
WITHOUT_BODY = {
    ("AdminAccessView", "POST"): "always refused",
    ("ProxyView", "POST"): "the routes that are checked are the hub's own",
    ("TokenRequestView", "POST"): "always refused",
}

VIEWS = sorted(
    {
        view
        for view in views_below(get_resolver("api.urls").url_patterns)
        if issubclass(view, HubAPIView) and view is not UnknownView
    },
    key=lambda view: view.__name__,
)


def agrees(serializer_class: type[Serializer[Any]], answer: Any, *absent: str) -> None:
    """Fail unless an answer has the fields of a serializer and values of its kinds."""
    serializer = serializer_class(data=answer)
    assert serializer.is_valid(), serializer.errors
    assert answer.keys() == serializer_class().fields.keys() - set(absent)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_each_method_states_what_it_reads(view: type[HubAPIView]) -> None:
    for method in METHODS:
        stated = view.serializer_classes.get(method)
        if stated is not None:
            assert issubclass(stated, BodySerializer)
            assert hasattr(view, method.lower())
        elif method in ("POST", "PUT", "PATCH") and hasattr(view, method.lower()):
            assert (view.__name__, method) in WITHOUT_BODY


def test_users_agree(admin: BearerClient, alan: User, data301: Group) -> None:
    make_server(alan, "")
    make_server(alan, "lab")

    listed = admin.get(f"{API}/users?include_stopped_servers=1").json()
    single = admin.get(f"{API}/users/{alan.name}?include_stopped_servers=1").json()

    for user in (*listed, single, *admin.get(f"{API}/users").json()):
        agrees(UserSerializer, user)
    for server in single["servers"].values():
        agrees(ServerSerializer, server)


def test_pages_agree(admin: BearerClient, alan: User) -> None:
    for place, serializer in (("users", UserSerializer), ("groups", GroupSerializer)):
        Group.objects.get_or_create(name="one")
        Group.objects.get_or_create(name="two")

        answer = admin.get(f"{API}/{place}?limit=1", headers=MEDIA_TYPE).json()

        agrees(PaginationSerializer, answer["_pagination"])
        for item in answer["items"]:
            agrees(serializer, item)


def test_groups_agree(admin: BearerClient, data301: Group) -> None:
    (listed,) = admin.get(f"{API}/groups").json()

    agrees(GroupSerializer, listed)
    agrees(GroupSerializer, admin.get(f"{API}/groups/{data301.name}").json())


def test_services_agree(admin: BearerClient) -> None:
    make_service("portal", url="http://127.0.0.1:9/")

    listed = admin.get(f"{API}/services").json()

    agrees(ServiceSerializer, listed["portal"])
    agrees(ServiceSerializer, admin.get(f"{API}/services/portal").json())


def test_callers_agree(admin: BearerClient, bearer: Callable[..., Any]) -> None:
    _, secret = make_token(make_service("portal", admin=True))

    agrees(CallingUserSerializer, admin.get(f"{API}/user").json())
    agrees(CallingServiceSerializer, bearer(secret).get(f"{API}/user").json())


def test_tokens_agree(admin: BearerClient, alan: User) -> None:
    place = f"{API}/users/{alan.name}/tokens"

    issued = admin.post(place, {"note": "for a test"}).json()
    listed = admin.get(place).json()["api_tokens"]

    agrees(IssuedTokenSerializer, issued, "service")
    for token in (*listed, admin.get(f"{place}/{issued['id']}").json()):
        agrees(TokenSerializer, token, "service")


def test_shares_agree(admin: BearerClient, alan: User, ada: User) -> None:
    make_server(alan, "")
    place = f"{alan.name}/"

    share = admin.post(f"{API}/shares/{place}", {"user": ada.name}).json()
    code = admin.post(f"{API}/share-codes/{place}", {}).json()

    agrees(ShareSerializer, share)
    agrees(IssuedShareCodeSerializer, code)
    for each in admin.get(f"{API}/shares/{place}").json()["items"]:
        agrees(ShareSerializer, each)
    for each in admin.get(f"{API}/share-codes/{place}").json()["items"]:
        agrees(ShareCodeSerializer, each)


def test_errors_agree(admin: BearerClient) -> None:
    agrees(ErrorSerializer, admin.get(f"{API}/users/nobody").json())
