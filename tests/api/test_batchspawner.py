"""The port that a batch job reports for its server."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from servers.models import Server
from tests.conftest import API, BearerClient
from tests.factories import make_server, make_token

pytestmark = pytest.mark.django_db

PLACE = f"{API}/batchspawner"
STARTING = {
    "wanted": Server.Wanted.RUNNING,
    "pending": Server.Pending.SPAWN,
    "generation": 1,
}


def make_starting(owner: User, name: str = "", **fields: Any) -> tuple[Server, str]:
    """Make a server that is being started, and return the secret of its token."""
    token, secret = make_token(
        owner, scopes=["access:servers!user", "users:activity!user"]
    )
    server = make_server(owner, name, token=token, **{**STARTING, **fields})
    return server, secret


def ports() -> list[int | None]:
    return list(Server.objects.values_list("announced_port", flat=True))


def test_keeps_the_port_of_the_server_whose_token_it_is(alan: User) -> None:
    other, _ = make_starting(alan, "lab")
    server, secret = make_starting(alan)

    reply = BearerClient(secret).post(PLACE, {"port": 40123})

    assert reply.status_code == 201
    assert reply.json() == {"message": "BatchSpawner data configured"}
    server.refresh_from_db()
    other.refresh_from_db()
    assert server.announced_port == 40123
    assert other.announced_port is None


def test_takes_nothing_but_the_port(alan: User) -> None:
    server, secret = make_starting(alan)

    body = {"port": 40123, "cmd": ["x"], "state": {"job_id": "1"}, "url": "http://x"}
    reply = BearerClient(secret).post(PLACE, body)

    assert reply.status_code == 201
    server.refresh_from_db()
    assert (server.announced_port, server.state, server.url) == (40123, None, "")


def test_a_later_word_counts(alan: User) -> None:
    _, secret = make_starting(alan, announced_port=40123)

    assert BearerClient(secret).post(PLACE, {"port": 40124}).status_code == 201

    assert ports() == [40124]


@pytest.mark.parametrize(
    "body",
    [
        *({"port": port} for port in (0, -1, 65536, True, None, "8888", 80.0, [80])),
        *({}, [], "8888", None),
    ],
)
def test_refuses_what_is_no_port(body: Any, alan: User) -> None:
    _, secret = make_starting(alan)

    reply = BearerClient(secret).post(PLACE, body)

    assert reply.status_code == 400
    assert ports() == [None]


def test_refuses_any_other_token(alan: User) -> None:
    make_starting(alan)
    _, secret = make_token(alan)

    reply = BearerClient(secret).post(PLACE, {"port": 40123})

    assert reply.status_code == 403
    assert ports() == [None]


@pytest.mark.parametrize(
    "fields",
    [
        {"pending": None, "ready": True},
        {"pending": Server.Pending.STOP, "wanted": Server.Wanted.STOPPED},
        {"pending": None, "wanted": Server.Wanted.STOPPED},
    ],
    ids=["ready", "stopping", "stopped"],
)
def test_refuses_a_server_that_is_not_starting(
    fields: dict[str, Any], alan: User
) -> None:
    _, secret = make_starting(alan, **fields)

    reply = BearerClient(secret).post(PLACE, {"port": 40123})

    assert reply.status_code == 403
    assert ports() == [None]


def test_refuses_a_browser(alan: User, as_: Any) -> None:
    make_starting(alan)

    reply = as_(alan).post(PLACE, {"port": 1}, content_type="application/json")

    assert reply.status_code == 403
    assert ports() == [None]
