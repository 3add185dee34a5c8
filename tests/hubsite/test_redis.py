"""Limits that several web processes share in Redis, and failures of Redis."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from accounts.attempts import FREE
from tests.hubsite.conftest import RunningHub, wait_until
from tests.ports import free_ports

pytestmark = pytest.mark.slow


class Redis:
    """A Redis server of the tests' own, which keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [self.port] = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = ("--port", str(self.port), "--bind", "127.0.0.1")
        self.process = subprocess.Popen(
            ["redis-server", *place, "--save", "", "--appendonly", "no"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.answers, "Redis answers")

    def answers(self) -> bool:
        from redis import Redis as Client
        from redis.exceptions import RedisError

        try:
            with Client.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    redis = Redis(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def hub(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    env = {"HUB_REDIS_URL": redis.url, "HUB_WORKERS": "3"}
    hub = RunningHub(tmp_path_factory.mktemp("hub"), env)
    hub.declare("c.Authenticator.allowed_users = {'ada', 'alan', 'grace'}")
    hub.start("web", "--prepare")
    yield hub
    hub.stop()


def guess(hub: RunningHub, name: str) -> tuple[int, Any, str | None]:
    """Ask for a token with a wrong password, over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", hub.hub_port, timeout=120)
    body = json.dumps({"auth": {"username": name, "password": "wrong"}})
    connection.request("POST", f"/hub/api/users/{name}/tokens", body)
    reply = connection.getresponse()
    told = json.loads(reply.read())
    connection.close()
    return reply.status, told["message"], reply.getheader("Retry-After")


def test_limits_hold_for_all_web_processes_together(hub: RunningHub) -> None:
    with ThreadPoolExecutor(6) as crowd:
        answers = list(crowd.map(lambda _: guess(hub, "ada"), range(24)))

    assert {status for status, _, _ in answers} == {403}
    held_up = [told for _, told, _ in answers if told.startswith("Too many")]
    assert len(held_up) == len(answers) - FREE
    # Others are not held up.
    assert not guess(hub, "alan")[1].startswith("Too many")


def test_an_outage_is_a_message_and_a_line_of_log(
    hub: RunningHub, redis: Redis
) -> None:
    redis.stop()
    try:
        status, message, retry_after = guess(hub, "grace")
        assert status == 503
        assert "failed attempts" in message
        assert retry_after
        wait_until(lambda: "Redis did not answer" in hub.said(), "the log says so")
        assert "Traceback" not in hub.said()
    finally:
        redis.start()

    # Nothing has to be started anew.
    wait_until(lambda: guess(hub, "grace")[0] == 403, "guesses are counted again")
