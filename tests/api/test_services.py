"""/services and /services/{name}."""

from __future__ import annotations

from typing import Any

import pytest

import services.actions
from accounts.models import User
from services.models import Service
from tests.conftest import API
from tests.factories import make_role, make_service, make_token
from tokens.models import APIToken

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(ada: User, bearer: Any) -> Any:
    return bearer(make_token(ada)[1])


def test_lists_services_by_name(admin: Any) -> None:
    make_service("bare")
    make_service("portal", url="http://127.0.0.1:9000", info={"k": 1}, display=False)

    reply = admin.get(f"{API}/services")

    assert reply.status_code == 200
    assert reply.json() == {
        "bare": {
            "kind": "service",
            "name": "bare",
            "admin": False,
            "url": "",
            "prefix": "",
            "command": [],
            "pid": 0,
            "info": {},
            "display": True,
            "roles": [],
        },
        "portal": {
            "kind": "service",
            "name": "portal",
            "admin": False,
            "url": "http://127.0.0.1:9000",
            "prefix": "/services/portal/",
            "command": [],
            "pid": 0,
            "info": {"k": 1},
            "display": False,
            "roles": [],
        },
    }


def test_a_filter_narrows_the_list(ci: Service, bearer: Any) -> None:
    make_service("portal")
    make_role("some", "list:services!service=portal", services=[ci])

    reply = bearer(make_token(ci)[1]).get(f"{API}/services")

    assert reply.json() == {
        "portal": {"kind": "service", "name": "portal", "admin": False}
    }


@pytest.mark.parametrize("number", [2, 20])
def test_listing_costs_the_same_however_many(
    admin: Any, number: int, django_assert_num_queries: Any
) -> None:
    for _ in range(number):
        make_role("viewer", "read:hub", services=[make_service()])
    admin.get(f"{API}/user")

    with django_assert_num_queries(3):  # the bearer, the services, their roles
        assert len(admin.get(f"{API}/services").json()) == number


def test_reads_one(admin: Any) -> None:
    make_service("a b@ü")

    reply = admin.get(f"{API}/services/a%20b%40%C3%BC")

    assert reply.json()["name"] == "a b@ü"
    assert admin.get(f"{API}/services/none").status_code == 404


def test_creates_a_service_with_its_token(admin: Any, bearer: Any) -> None:
    secret = "a-secret-that-someone-brought"
    body = {"info": {"k": "v"}, "api_token": secret, "display": False}

    reply = admin.post(f"{API}/services/grader", body)

    assert reply.status_code == 201
    assert reply.json()["info"] == {"k": "v"}
    assert secret not in reply.content.decode()
    assert bearer(secret).get(f"{API}/user").json()["name"] == "grader"


def test_the_address_names_the_service(admin: Any) -> None:
    reply = admin.post(f"{API}/services/grader", {"name": "other"})

    assert (reply.status_code, reply.json()["name"]) == (201, "grader")


def test_a_refused_token_leaves_no_service(admin: Any) -> None:
    reply = admin.post(f"{API}/services/grader", {"api_token": "short"})

    assert reply.status_code == 400
    assert not Service.objects.filter(name="grader").exists()


def test_somebody_elses_token_is_not_taken_over(
    admin: Any, alan: User, bearer: Any
) -> None:
    secret = "a-secret-that-someone-brought"
    admin.post(f"{API}/services/first", {"api_token": secret})

    admin.post(f"{API}/services/second", {"api_token": secret})

    assert bearer(secret).get(f"{API}/user").json()["name"] == "first"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "Invalid service data"),
        ({}, "Invalid service data"),
        ([], "Invalid service data"),
        ('"text"', "Invalid JSON data"),
        ({"colour": "green"}, "Invalid JSON keys: colour"),
        ({"url": 3}, "service.url must be"),
        ({"admin": "yes"}, "service.admin must be"),
        ({"url": "x" * 3000}, "longer than"),
        ({"info": {"k": "x" * 20_000}}, "info is longer than"),
        ({"environment": {"k": "x" * 20_000}}, "environment is longer than"),
        ({"url": "nowhere"}, "must be an http or https address"),
        ({"oauth_client_id": "grader"}, "must start with service-"),
        ({"oauth_client_allowed_scopes": [1]}, "must be a list of strings"),
        ({"oauth_client_allowed_scopes": ["no:such"]}, "does not exist"),
        ({"command": ["sleep", "1"]}, "Can not create managed service"),
    ],
)
def test_refuses_what_makes_no_sense(admin: Any, body: Any, message: str) -> None:
    reply = admin.post(f"{API}/services/grader", body)

    assert reply.status_code == 400
    assert message in reply.json()["message"]
    assert not Service.objects.exists()


def test_creators_hold_what_they_give(ci: Service, bearer: Any) -> None:
    make_role("maker", "admin:services", services=[ci])
    client = bearer(make_token(ci)[1])

    assert client.post(f"{API}/services/plain", {"info": {}}).status_code == 201
    assert client.post(f"{API}/services/boss", {"admin": True}).status_code == 400
    assert not Service.objects.filter(name="boss").exists()


def test_names_are_given_once(admin: Any) -> None:
    make_service("grader")

    reply = admin.post(f"{API}/services/grader", {"info": {}})

    assert reply.status_code == 409
    assert reply.json()["message"] == "Service grader already exists"


def test_deletes_a_service_with_its_tokens(admin: Any) -> None:
    service = make_service("grader")
    make_token(service)

    reply = admin.delete(f"{API}/services/grader")

    assert (reply.status_code, reply.content) == (200, b"")
    assert not APIToken.objects.filter(service=service).exists()
    assert admin.delete(f"{API}/services/grader").status_code == 404


def test_configured_services_stay(admin: Any) -> None:
    make_service("grader", from_config=True)

    reply = admin.delete(f"{API}/services/grader")

    assert reply.status_code == 405
    assert "not modifiable at runtime" in reply.json()["message"]
    assert Service.objects.filter(name="grader").exists()


def test_the_number_of_services_is_limited(
    admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.actions, "MOST_SERVICES", 1)
    assert admin.post(f"{API}/services/one", {"admin": False}).status_code == 201

    reply = admin.post(f"{API}/services/two", {"admin": False})

    assert reply.status_code == 409
    assert "as many as there may be" in reply.json()["message"]
    assert Service.objects.count() == 1
