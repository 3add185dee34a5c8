"""The limits of requests' sizes; a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from audit.models import Event
from scopes import access as access_module
from scopes.grammar import MAX_SCOPES
from servers.models import Server, Share, ShareCode
from services.models import Service
from tests.conftest import API
from tests.factories import make_server, make_token, make_user
from tests.scopes.test_sizes import traced
from tokens.models import APIToken

pytestmark = pytest.mark.django_db


def many(number: int = MAX_SCOPES + 1, tag: object = "") -> list[str]:
    return [f"read:users:name!user=user{tag}-{n}" for n in range(number)]


def post_token(client: Any, scopes: list[str]) -> Any:
    return client.post(f"{API}/users/alan/tokens", {"scopes": scopes})


def post_share(client: Any, scopes: list[str]) -> Any:
    return client.post(f"{API}/shares/alan/lab", {"user": "mallory", "scopes": scopes})


def patch_share(client: Any, scopes: list[str]) -> Any:
    return client.patch(
        f"{API}/shares/alan/lab",
        {"user": "mallory", "scopes": scopes},
        content_type="application/json",
    )


def post_code(client: Any, scopes: list[str]) -> Any:
    return client.post(f"{API}/share-codes/alan/lab", {"scopes": scopes})


def post_service(client: Any, scopes: list[str]) -> Any:
    body = {"url": "http://127.0.0.1:1", "oauth_client_allowed_scopes": scopes}
    return client.post(f"{API}/services/grader", body)


@pytest.mark.parametrize(
    "act", [post_token, post_share, patch_share, post_code, post_service]
)
def test_too_many_scopes_are_refused_before_any_is_expanded(
    admin: Any,
    alan: User,
    mallory: User,
    act: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_server(alan, "lab")
    tokens = APIToken.objects.count()
    admin.get(f"{API}/user")

    def expand(*_: object, **__: object) -> None:
        raise AssertionError("nothing is expanded of what is refused for its size")

    for module in (
        "tokens.actions.values",
        "tokens.actions.changes",
        "sharing.actions",
        "services.actions",
    ):
        monkeypatch.setattr(f"{module}.expand", expand)
    reply = act(admin, many())

    assert reply.status_code == 400
    assert "at most 1000" in reply.json()["message"]
    assert APIToken.objects.count() == tokens
    assert not Share.objects.exists()
    assert not ShareCode.objects.exists()
    assert not Service.objects.exists()
    assert not Event.objects.exclude(action="token.issue").exists()


def test_as_many_scopes_as_the_limit_are_taken(admin: Any, alan: User) -> None:
    reply = post_token(admin, [f"servers!server=alan/{n}" for n in range(MAX_SCOPES)])

    assert reply.status_code == 201
    _, secret = "", reply.json()["token"]
    assert type(admin)(secret).get(f"{API}/user").status_code == 200


def test_roles_of_a_token_are_few(admin: Any, alan: User) -> None:
    roles = [f"role-{n}" for n in range(100_000)]

    reply = admin.post(f"{API}/users/alan/tokens", {"roles": roles})

    assert reply.status_code == 400
    assert "too many" in reply.json()["message"]


def test_refused_requests_leave_nothing_in_memory(alan: User, bearer: Any) -> None:
    client = bearer(make_token(alan)[1])
    for number in (1, 2):
        assert post_token(client, many(MAX_SCOPES, number)).status_code == 400
    held = access_module._access.held

    with traced() as grown:
        for number in range(30):
            tag = f"{number}-refused"
            size = MAX_SCOPES if number < 1 else MAX_SCOPES + 1
            assert post_token(client, many(size, tag)).status_code == 400
        assert grown() < 2_000_000

    assert access_module._access.held == held


def test_a_refusal_names_no_more_scopes_than_anybody_reads(
    alan: User, bearer: Any
) -> None:
    client = bearer(make_token(alan)[1])

    message = post_token(client, many(MAX_SCOPES)).json()["message"]

    assert message.startswith("Not assigning requested scopes read:users:name!user=")
    assert message.endswith(" and 900 more not held by User alan")


def test_lists_reach_through_thousands_of_filters(bearer: Any) -> None:
    owners = [make_user() for _ in range(3)]
    servers = [f"servers!server={owner.name}/lab" for owner in owners]
    for owner in owners:
        make_server(owner, "lab", ready=True)
    others = [f"servers!server=nobody-{n}/lab" for n in range(3_000)]
    keeper = make_user(scopes=["list:users", "read:servers", *servers, *others])

    access = keeper.access

    reached = access.limit("start:servers", queryset=Server.objects.all())
    assert reached.count() == 3
