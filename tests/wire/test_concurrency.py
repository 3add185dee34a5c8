"""Hundreds of equal requests at once, of which one succeeds and the others are refused.

The hub runs as its own command with two web processes, on the database of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.databases import fresh_database
from tests.wire.conftest import CONFIGS, command
from tests.wire.crowd import ASKING, Crowd

from hubdiff.launch import running_hub  # isort: skip
from hubdiff.play import PortPool  # isort: skip

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("concurrency")]


@pytest.fixture(scope="module")
def crowd(ports: PortPool) -> Iterator[Crowd]:
    config = CONFIGS["core"]
    with fresh_database(f"crowd_{os.getpid()}") as environment:
        hub = command({"HUB_WORKERS": "2", **environment})
        block = ports.take()
        with running_hub(hub, config, block, 60):
            api = f"http://127.0.0.1:{block.hub}/hub/api"
            yield Crowd(api, config.service_tokens["ops"])


def test_one_user_is_created_once(crowd: Crowd) -> None:
    answers = crowd.all_ask([("POST", "/users/same", None)] * ASKING)

    assert answers == {201: 1, 409: ASKING - 1}


def test_one_group_is_created_once(crowd: Crowd) -> None:
    answers = crowd.all_ask([("POST", "/groups/same", {"users": []})] * ASKING)

    assert answers == {201: 1, 409: ASKING - 1}


def test_bulk_creations_that_overlap_make_each_user_once(crowd: Crowd) -> None:
    names = [f"overlap-{number}" for number in range(40)]
    turn: Callable[[int], list[str]] = lambda start: names[start:] + names[:start]  # noqa: E731

    answers = crowd.all_ask(
        ("POST", "/users", {"usernames": turn(number % 40)[:20]})
        for number in range(ASKING)
    )

    assert set(answers) <= {201, 409}
    listed = crowd.ask("GET", "/users?limit=200&name_filter=overlap-").json()
    assert sorted(user["name"] for user in listed) == sorted(names)


def test_members_who_come_and_go_at_once_leave_a_sound_group(crowd: Crowd) -> None:
    names = [f"member-{number}" for number in range(20)]
    crowd.ask("POST", "/users", {"usernames": names})
    crowd.ask("POST", "/groups/busy", {})

    answers = crowd.all_ask(
        (
            "DELETE" if number % 3 == 2 else "POST",
            "/groups/busy/users",
            {"users": names if number % 2 else names[::-1]},
        )
        for number in range(ASKING)
    )

    assert set(answers) == {200}
    crowd.ask("POST", "/groups/busy/users", {"users": names})
    members = crowd.ask("GET", "/groups/busy").json()["users"]
    assert sorted(members) == sorted(names)


def test_one_name_goes_to_one_user(crowd: Crowd) -> None:
    names = [f"claims-{number}" for number in range(100)]
    crowd.ask("POST", "/users", {"usernames": names})

    answers = crowd.all_ask(
        ("PATCH", f"/users/{name}", {"name": "coveted"}) for name in names
    )

    assert answers[200] == 1
    assert answers[400] == len(names) - 1


def test_one_user_is_deleted_once(crowd: Crowd) -> None:
    crowd.ask("POST", "/users/doomed")

    answers = crowd.all_ask([("DELETE", "/users/doomed", None)] * 100)

    assert answers == {204: 1, 404: 99}


def test_tokens_are_all_issued(crowd: Crowd) -> None:
    crowd.ask("POST", "/users/busy")

    answers = crowd.all_ask([("POST", "/users/busy/tokens", {"note": "x"})] * 100)

    assert answers == {201: 100}
    tokens = crowd.ask("GET", "/users/busy/tokens").json()["api_tokens"]
    assert len(tokens) == 100
