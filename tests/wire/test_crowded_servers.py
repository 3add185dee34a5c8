"""Many starts of the same server at once, or more than the limit.

The hub runs as its own command with two web processes and its controller, on the
database of the run.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.databases import fresh_database
from tests.wire.conftest import ROOT, command
from tests.wire.crowd import ASKING, Crowd

from hubdiff.config import HubConfig  # isort: skip
from hubdiff.launch import running_hub  # isort: skip
from hubdiff.play import PortPool  # isort: skip

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crowded-servers")]

STREAMS = 60


def crowded() -> HubConfig:
    config = HubConfig(Path(__file__).parent / "configs" / "crowded.py")
    stub = ROOT / "tests" / "servers" / "stub.py"
    config.template = config.template.replace("__STUB__", str(stub))
    return config


@pytest.fixture(scope="module")
def crowd(ports: PortPool) -> Iterator[Crowd]:
    config = crowded()
    with fresh_database(f"crowded_{os.getpid()}") as environment:
        hub = command({"HUB_WORKERS": "2", **environment})
        block = ports.take()
        with running_hub(hub, config, block, 60):
            api = f"http://127.0.0.1:{block.hub}/hub/api"
            crowd = Crowd(api, config.service_tokens["ops"])
            names = [f"one-of-many-{number}" for number in range(40)]
            crowd.ask("POST", "/users", {"usernames": ["same", "shown", *names]})
            yield crowd


@pytest.fixture(autouse=True)
def nothing_runs_afterwards(crowd: Crowd) -> Iterator[None]:
    yield
    running = crowd.ask("GET", "/users?state=active&limit=200").json()
    crowd.all_ask(("DELETE", f"/users/{user['name']}/server", None) for user in running)


def processes(user: str, api: str) -> int:
    """Count the servers of a user of this hub among the processes of the machine."""
    found = 0
    port = api.split(":")[2].split("/")[0]
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        found += f"JUPYTERHUB_USER={user}".encode() in variables and any(
            each.startswith(b"JUPYTERHUB_API_URL=") and f":{port}/".encode() in each
            for each in variables
        )
    return found


def test_one_server_is_started_once(crowd: Crowd) -> None:
    answers = crowd.all_ask([("POST", "/users/same/server", None)] * ASKING)

    # On a busy machine the first answer is 202 as well: the start takes too long.
    assert answers[201] <= 1 and answers[201] + answers[202] == ASKING
    assert processes("same", crowd.api) == 1


def test_limits_hold(crowd: Crowd) -> None:
    starts = [
        ("POST", f"/users/one-of-many-{number}/server", None) for number in range(40)
    ]

    first = crowd.all_ask(starts)
    second = crowd.all_ask(starts[::-1])

    assert first == {201: 4, 429: 36}
    # Four of them run now: they answer 400, and there is room for two more.
    assert second == {201: 2, 400: 4, 429: 34}
    assert len(crowd.ask("GET", "/users?state=ready").json()) == 6


def test_starts_and_stops_at_once_end_in_one_state(crowd: Crowd) -> None:
    methods = ["POST" if number % 2 else "DELETE" for number in range(100)]

    answers = crowd.all_ask((method, "/users/same/server", None) for method in methods)

    # 400: it was stopping; 409: the start was cancelled.
    assert set(answers) <= {201, 202, 204, 400, 409}
    deadline = time.monotonic() + 30
    while crowd.ask("GET", "/users/same/server").json()["pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ready = crowd.ask("GET", "/users/same/server").json()["ready"]
    assert processes("same", crowd.api) == int(ready)


def test_all_who_watch_a_start_see_its_end(crowd: Crowd) -> None:
    def watch(_: int) -> bytes:
        address = f"{crowd.api}/users/shown/server/progress"
        return requests.get(address, headers=crowd.headers, timeout=60).content

    with ThreadPoolExecutor(STREAMS + 1) as pool:
        starting = pool.submit(crowd.ask, "POST", "/users/shown/server")
        time.sleep(0.5)
        streams = list(pool.map(watch, range(STREAMS)))

    assert starting.result().status_code == 201
    last = Counter(
        json.loads(stream.strip().splitlines()[-1].removeprefix(b"data: "))["message"]
        for stream in streams
    )
    assert last == {"Server ready at /user/shown/": STREAMS}
