"""Sessions that PostgreSQL ends, as at a restart or a failover."""

from __future__ import annotations

import http.cookiejar
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import psycopg
import pytest
from django.db import connection

from tests.databases import fresh_database
from tests.hubsite.conftest import RunningHub

SECRET = "a-secret-that-somebody-brought"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[RunningHub]:
    folder: Path = tmp_path_factory.mktemp("failover")
    with fresh_database(f"failover_{worker_number}") as env:
        hub = RunningHub(folder, env)
        hub.declare(
            "c.JupyterHub.authenticator_class = 'dummy'\n"
            "c.Authenticator.admin_users = {'ada'}\n"
            "c.Authenticator.allow_all = True\n"
            "c.JupyterHub.services = "
            f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
        )
        hub.start()
        yield hub
        hub.stop()


class Browser:
    """A person at a hub, with cookies."""

    def __init__(self, hub: RunningHub) -> None:
        self.base = hub.own_url
        jar = http.cookiejar.CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(jar))

    def ask(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        data = None if form is None else urlencode(form).encode()
        try:
            with self.opener.open(Request(self.base + path, data), timeout=60) as page:
                return page.status, page.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")

    def sign_in(self, name: str) -> int:
        _, page = self.ask("login")
        found = re.search(r'name="_xsrf" value="([^"]+)"', page)
        assert found
        form = {"username": name, "password": "x", "_xsrf": found[1]}
        return self.ask("login?next=/hub/home", form)[0]


def call(hub: RunningHub, method: str, path: str, body: bytes | None = None) -> int:
    request = Request(f"{hub.own_url}api{path}", body, method=method)
    request.add_header("Authorization", f"token {SECRET}")
    try:
        with build_opener().open(request, timeout=60) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def end_sessions(hub: RunningHub) -> int:
    """End all of the hub's sessions with the database, and wait for their end."""
    with psycopg.connect(hub.env["HUB_DATABASE_URL"], autocommit=True) as own:
        found = own.execute(
            "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
        assert found
        return int(found[0])


def test_nobody_sees_an_error_afterwards(hub: RunningHub) -> None:
    ada = Browser(hub)
    assert ada.sign_in("ada") == 200
    number = 0

    def rounds(count: int) -> list[int]:
        """Have pages, reads, writes and a sign-in be asked for by many at once."""
        nonlocal number
        asks: list[Any] = []
        for _ in range(count):
            number += 1
            asks += [
                lambda: ada.ask("home")[0],
                lambda: ada.ask("token")[0],
                lambda: ada.ask("admin/accounts/user/")[0],
                lambda: call(hub, "GET", "/users"),
                lambda: call(hub, "GET", "/user"),
                lambda each=number: call(hub, "POST", f"/users/u{each}"),
                lambda each=number: call(hub, "POST", f"/users/u{each}/tokens", b"{}"),
                lambda each=number: Browser(hub).sign_in(f"v{each}"),
            ]
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda ask: ask(), asks))

    assert max(rounds(4)) < 500
    for _ in range(3):
        # Every thread of the hub has a connection that has ended.
        assert end_sessions(hub) > 1
        answers = rounds(4)
        assert max(answers) < 500, answers


def test_what_is_cut_off_in_the_midst_is_no_fault_of_the_hub(hub: RunningHub) -> None:
    """A change may be lost at that moment; it is answered 503, and then as always."""
    end = time.monotonic() + 3
    answers: list[int] = []

    def write(thread: int) -> None:
        each = 0
        while time.monotonic() < end:
            each += 1
            answers.append(call(hub, "POST", f"/users/w{thread}-{each}"))

    with ThreadPoolExecutor(5) as pool:
        for thread in range(4):
            pool.submit(write, thread)
        while time.monotonic() < end:
            end_sessions(hub)
            time.sleep(0.2)

    assert set(answers) <= {201, 409, 503}
    assert call(hub, "GET", "/users") == 200
    assert connection.vendor == "postgresql"
