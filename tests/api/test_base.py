"""Common behaviour of all addresses, tested at a few of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import Error
from django.db import IntegrityError, OperationalError
from django.http import HttpResponse
from django.test import Client
from django.urls import get_resolver, path

from accounts.models import Group, User
from api.base import UnknownView
from api.checks import check_views_state_scopes, views_below
from api.renderers import JSONRenderer, json_response
from api.users import UserView
from tests.conftest import API, BearerClient
from web.paths import ENCODED_SLASH

pytestmark = pytest.mark.django_db


def message_of(response: Any, status: int) -> str:
    """Return the message of an error, whose shape is checked."""
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    assert response.json().keys() == {"status", "message"}
    assert response.json()["status"] == status
    assert response.json()["message"]
    return response.json()["message"]


@pytest.mark.parametrize("place", ["/nothing", "/users/", "/user/", "/users/a/b/c"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_unknown_addresses_need_no_credentials(
    client: Client, place: str, method: str
) -> None:
    message_of(getattr(client, method)(API + place), 404)


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_unknown_methods_get_a_reason(admin: BearerClient, method: str) -> None:
    response = getattr(admin, method)(f"{API}/users")

    message_of(response, 405)
    assert "Allow" not in response


def test_head_is_not_offered(admin: BearerClient) -> None:
    assert admin.head(f"{API}/users").status_code == 405


@pytest.mark.parametrize("place", ["/users", "/users/x", "/"])
def test_options_is_empty_for_anybody(client: Client, place: str) -> None:
    response = client.options(API + place)

    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("place", ["/nothing", "/health/x"])
def test_there_are_no_options_where_nothing_is(client: Client, place: str) -> None:
    message_of(client.options(API + place), 404)


def test_foreign_pages_may_learn_that_they_know_the_version(client: Client) -> None:
    origin = "Access-Control-Allow-Origin"
    first = client.get(f"{API}/")
    again = client.get(f"{API}/", headers={"if-none-match": first["ETag"]})

    assert (again.status_code, again[origin]) == (304, "*")
    assert client.options(f"{API}/")[origin] == "*"


def test_an_encoded_slash_is_part_of_a_name(admin: BearerClient) -> None:
    place = f"{API}/groups/a{ENCODED_SLASH}b"

    assert admin.post(place).json()["name"] == "a/b"
    assert admin.get(place).status_code == 200
    assert admin.delete(place).status_code == 204
    message_of(admin.post(f"{API}/users/a{ENCODED_SLASH}b"), 400)
    message_of(admin.get(f"{API}/users/a{ENCODED_SLASH}b"), 404)


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON"])
def test_scripts_say_json_in_any_letter_case(
    as_: Any, ada: User, content_type: str
) -> None:
    reply = as_(ada).post(f"{API}/users/ada/tokens", "{}", content_type=content_type)

    assert reply.status_code == 201


def test_a_broken_form_is_a_bad_request(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)

    reply = client.post(f"{API}/users", b"{}", content_type="multipart/form-data")

    message_of(reply, 400)


@pytest.mark.parametrize(
    "header", [None, "token nobody", "Bearer", "Basic YTpi", "token  two words"]
)
def test_strangers_get_403_without_challenge(client: Client, header: str) -> None:
    headers = {} if header is None else {"authorization": header}

    response = client.get(f"{API}/users", headers=headers)

    assert message_of(response, 403) == "Missing or invalid credentials."
    assert "WWW-Authenticate" not in response


@pytest.mark.parametrize("scheme", ["token", "Bearer", "TOKEN", "bearer "])
def test_schemes_are_equal(
    ada: User, api: Callable[..., BearerClient], scheme: str
) -> None:
    header = api(ada).defaults["HTTP_AUTHORIZATION"].replace("token", scheme, 1)

    assert (
        Client(headers={"authorization": header}).get(f"{API}/user").status_code == 200
    )


def test_scope_not_held_is_named(holding: Callable[..., BearerClient]) -> None:
    message = message_of(holding("read:hub").get(f"{API}/users"), 403)

    assert message.endswith("requires any of [list:users]")


def test_filter_that_misses_hides_whether_there_is_something(
    holding: Callable[..., BearerClient], alan: User
) -> None:
    client = holding("read:users!user=mallory")

    there = client.get(f"{API}/users/alan")
    nowhere = client.get(f"{API}/users/nobody")

    assert message_of(there, 404) == message_of(nowhere, 404)


def test_filter_is_not_enough_where_nothing_is_named(
    holding: Callable[..., BearerClient],
) -> None:
    client = holding("admin:users!user=new")

    message_of(client.post(f"{API}/users", {"usernames": ["new"]}), 403)
    assert not User.objects.exists()


def test_filter_of_another_kind_lists_nothing(
    holding: Callable[..., BearerClient],
) -> None:
    message_of(holding("list:users!server=a/b").get(f"{API}/users"), 403)


@pytest.mark.parametrize("text", ["{", "hello", "{'a': 1}", b"\xff\xfe\x00", "[NaN]"])
def test_what_is_no_json_is_refused(admin: BearerClient, text: Any) -> None:
    response = admin.generic("POST", f"{API}/users", text)

    message_of(response, 400)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded"]
)
def test_body_is_json_whatever_it_claims(
    admin: BearerClient, content_type: str
) -> None:
    body = json.dumps({"usernames": ["new"]})

    response = admin.generic("POST", f"{API}/users", body, content_type=content_type)

    assert response.status_code == 201


@pytest.mark.parametrize("name", [r"a\u0000b", r"\\\u0000"])
def test_nul_is_refused(admin: BearerClient, name: str) -> None:
    body = f'{{"usernames": ["{name}"]}}'

    message = message_of(admin.generic("POST", f"{API}/users", body), 400)

    assert "NUL" in message


@pytest.mark.parametrize(
    "nested", ["[" * 500 + "]" * 500, '{"a":' * 101 + "1" + "}" * 101]
)
@pytest.mark.parametrize(
    ("method", "place", "body"),
    [
        ("put", "/groups/data301/properties", '{"a":%s}'),
        ("post", "/users", '{"usernames":%s}'),
        ("post", "/users/ada/tokens", '{"expires_in":%s}'),
        ("patch", "/users/ada", "%s"),
    ],
)
def test_what_is_nested_too_deep_is_refused(
    admin: BearerClient, data301: Group, method: str, place: str, body: str, nested: str
) -> None:
    response = getattr(admin, method)(
        API + place, body % nested, content_type="application/json"
    )

    assert "nested more than 100 levels" in message_of(response, 400)


def test_escaped_backslash_is_no_nul(admin: BearerClient) -> None:
    body = r'{"usernames": ["a\\u0000"]}'

    assert admin.generic("POST", f"{API}/users", body).status_code == 201


@pytest.mark.parametrize("place", ["/users/a%00b", "/groups/a%00b"])
def test_nothing_is_named_nul(admin: BearerClient, place: str) -> None:
    message_of(admin.get(API + place), 404)


def test_large_bodies_are_refused(admin: BearerClient, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    message_of(admin.post(f"{API}/users", {"usernames": ["x" * 200]}), 413)


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (IntegrityError(), 409),
        (User.DoesNotExist(), 409),
        (OperationalError(), 503),
        (OperationalError("database or disk is full"), 503),
        (ZeroDivisionError(), 500),
    ],
)
def test_failures_are_json(
    admin: BearerClient,
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
    status: int,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> HttpResponse:
        raise problem

    monkeypatch.setattr(UserView, "get", fail)

    message_of(admin.get(f"{API}/users/ada"), status)


def test_answers_are_ascii() -> None:
    render = JSONRenderer().render

    assert render({"a": "ö😀"}) == rb'{"a":"\u00f6\ud83d\ude00"}'
    assert json_response('"ö😀"').content == rb'"\u00f6\ud83d\ude00"'


# Cookies


def test_session_answers_for_its_user(as_: Callable[..., Client], alan: User) -> None:
    assert as_(alan).get(f"{API}/user").json()["name"] == "alan"


def test_bad_token_falls_back_to_the_session(
    as_: Callable[..., Client], alan: User
) -> None:
    client = as_(alan)

    response = client.get(f"{API}/user", headers={"authorization": "token nobody"})

    assert response.json()["name"] == "alan"


def test_token_wins_over_session(
    as_: Callable[..., Client], api: Callable[..., BearerClient], ada: User, alan: User
) -> None:
    header = api(ada).defaults["HTTP_AUTHORIZATION"]

    response = as_(alan).get(f"{API}/user", headers={"authorization": header})

    assert response.json()["name"] == "ada"


def test_session_may_not_post_forms(as_: Callable[..., Client], ada: User) -> None:
    response = as_(ada).post(f"{API}/users/new", {"a": "b"})

    message_of(response, 403)
    assert not User.objects.filter(name="new").exists()


def test_session_needs_proof_of_origin(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)

    response = client.post(f"{API}/users/new", "{}", content_type="application/json")

    assert "_xsrf" in message_of(response, 403)
    assert not User.objects.filter(name="new").exists()


def test_token_needs_no_proof_of_origin(
    api: Callable[..., BearerClient], ada: User
) -> None:
    header = api(ada).defaults["HTTP_AUTHORIZATION"]
    client = Client(enforce_csrf_checks=True, headers={"authorization": header})

    response = client.post(f"{API}/users/new", "{}", content_type="application/json")

    assert response.status_code == 201


def test_disabled_user_has_no_session(as_: Callable[..., Client], alan: User) -> None:
    client = as_(alan)
    User.objects.update(is_active=False)

    message_of(client.get(f"{API}/user"), 403)


# The system check


def test_every_view_states_its_scopes() -> None:
    assert check_views_state_scopes() == []


def test_a_view_that_states_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(UserView, "scopes", {"GET": "read:users"})

    (report,) = [each for each in check_views_state_scopes() if each.obj is UserView]

    assert isinstance(report, Error)
    assert "POST, PATCH, DELETE" in report.msg


def test_a_method_that_states_nothing_is_closed(
    admin: BearerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UserView, "scopes", {})

    message_of(admin.get(f"{API}/users/ada"), 403)


def test_unknown_is_asked_last() -> None:
    below = [
        view
        for view in views_below(get_resolver("api.urls").url_patterns)
        if isinstance(view, type)
    ]

    assert below.index(UnknownView) == len(below) - 1
    assert list(views_below([path("x", UserView.as_view())])) == [UserView]
