"""Hundreds of programs with the same request at the same moment.

The hub has several web processes, so that only the database can serialise requests.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.databases import fresh_database
from tests.hubsite.conftest import RunningHub

SECRET = "a-secret-that-somebody-brought"
CALLERS = 24
CALLS = 240


@pytest.fixture(scope="module")
def crowded(
    tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[RunningHub]:
    """A running hub with two web processes."""
    folder: Path = tmp_path_factory.mktemp("crowded")
    with fresh_database(f"crowded_{worker_number}") as env:
        hub = RunningHub(folder, {**env, "HUB_WORKERS": "2"})
        hub.declare(
            "c.JupyterHub.services = "
            f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
        )
        hub.start()
        yield hub
        hub.stop()


def call(hub: RunningHub, method: str, place: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", hub.hub_port, timeout=60)
    headers = {"Authorization": f"token {SECRET}"}
    content = None if body is None else json.dumps(body)
    connection.request(method, f"/hub/api{place}", content, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text else None


def statuses(act: Callable[[int], tuple[int, Any]]) -> Counter[int]:
    """Return how often each status was answered to many calls at once."""
    with ThreadPoolExecutor(CALLERS) as pool:
        return Counter(status for status, _ in pool.map(act, range(CALLS)))


def test_one_of_many_creates_a_user(crowded: RunningHub) -> None:
    def create(number: int) -> tuple[int, Any]:
        if number % 2:
            return call(crowded, "POST", "/users/one")
        return call(crowded, "POST", "/users", {"usernames": ["one"]})

    assert statuses(create) == {201: 1, 409: CALLS - 1}
    _, user = call(crowded, "GET", "/users/one")
    assert user["roles"] == ["user"]


def test_one_of_many_creates_a_group(crowded: RunningHub) -> None:
    def create(number: int) -> tuple[int, Any]:
        if number % 2:
            return call(crowded, "POST", "/groups/one")
        return call(crowded, "POST", "/groups", {"groups": ["one"]})

    assert statuses(create) == {201: 1, 409: CALLS - 1}


def test_overlapping_lists_wait_for_each_other(crowded: RunningHub) -> None:
    names = [f"u{number}" for number in range(30)]

    def create(number: int) -> tuple[int, Any]:
        wanted = names if number % 2 else names[::-1]
        return call(crowded, "POST", "/users", {"usernames": wanted})

    assert statuses(create) == {201: 1, 409: CALLS - 1}


def test_members_come_and_go(crowded: RunningHub) -> None:
    names = [f"m{number}" for number in range(20)]
    call(crowded, "POST", "/users", {"usernames": names})
    call(crowded, "POST", "/groups/busy")

    def change(number: int) -> tuple[int, Any]:
        method = "DELETE" if number % 3 == 0 else "POST"
        wanted = names if number % 2 else names[::-1]
        return call(crowded, method, "/groups/busy/users", {"users": wanted})

    assert statuses(change) == {200: CALLS}
    call(crowded, "POST", "/groups/busy/users", {"users": names})
    _, group = call(crowded, "GET", "/groups/busy")
    assert sorted(group["users"]) == sorted(names)


def test_a_name_is_given_to_one_of_many(crowded: RunningHub) -> None:
    names = [f"r{number}" for number in range(CALLS)]
    call(crowded, "POST", "/users", {"usernames": names})

    def rename(number: int) -> tuple[int, Any]:
        return call(crowded, "PATCH", f"/users/{names[number]}", {"name": "wanted"})

    assert statuses(rename) == {200: 1, 400: CALLS - 1}


def test_one_of_many_deletes_a_user(crowded: RunningHub) -> None:
    call(crowded, "POST", "/users/doomed")

    counts = statuses(lambda number: call(crowded, "DELETE", "/users/doomed"))

    # Who comes a moment later finds nobody, or finds that nothing is left to do.
    assert counts.keys() <= {204, 404}
    assert call(crowded, "GET", "/users/doomed")[0] == 404
