"""Requests that wait for other systems do not block other requests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.http import HttpResponse

from accounts import single_sign_on_urls
from accounts.models import User
from accounts.single_sign_on import SocialAccountAdapter
from audit.models import Actor
from servers.limits import limit_of_names
from tests.factories import make_token
from web import outside
from web.asgi import Application
from web.bodies import RefusedError
from web.outside import MARK, OutsidePool, may_wait


@pytest.mark.parametrize(
    ("path", "method", "waits"),
    [
        ("/hub/login", "POST", True),
        ("/hub/login", "GET", False),
        ("/hub/accounts/password/change/", "POST", True),
        ("/hub/accounts/reauthenticate/", "POST", True),
        ("/hub/accounts/2fa/reauthenticate/", "POST", True),
        ("/hub/api/users/ada/tokens", "POST", True),
        ("/hub/api/users/ada/tokens", "GET", False),
        ("/hub/api/proxy", "GET", True),
        ("/hub/api/proxy", "PATCH", True),
        ("/hub/api/user", "GET", False),
        ("/hub/health", "GET", False),
        ("/hub/api/users/\xff", "GET", False),
        ("/hub/nowhere/at/all", "POST", False),
    ],
)
def test_views_state_what_waits(path: str, method: str, waits: bool) -> None:
    assert may_wait({"PATH_INFO": path, "REQUEST_METHOD": method}) is waits


def test_a_token_is_issued_by_a_token_without_waiting_for_others() -> None:
    environ = {"PATH_INFO": "/hub/api/users/ada/tokens", "REQUEST_METHOD": "POST"}
    assert not may_wait(environ | {"HTTP_AUTHORIZATION": "token x"})


def test_the_page_of_single_sign_on_waits_for_nobody_and_its_button_does() -> None:
    login, callback = (pattern.callback for pattern in single_sign_on_urls.urlpatterns)
    assert getattr(login, MARK) == ({"POST"}, False)
    assert getattr(callback, MARK) == ({"GET", "POST"}, False)


def test_a_full_pool_refuses_at_once() -> None:
    async def scenario() -> None:
        free = threading.Event()
        pool = OutsidePool(threads=1, queue=1)
        running = [asyncio.create_task(pool.run(who, free.wait)) for who in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refused:
            await pool.run("c", free.wait)
        assert refused.value.status == 503
        free.set()
        assert await asyncio.gather(*running) == [True, True]

    asyncio.run(scenario())


def test_a_peer_that_never_answers_is_given_up() -> None:
    async def scenario(free: threading.Event) -> None:
        pool = OutsidePool(threads=1, patience=0.05)
        with pytest.raises(RefusedError) as refused:
            await pool.run("a", free.wait)
        assert refused.value.status == 503
        assert pool.count == 0
        free.set()

    asyncio.run(scenario(threading.Event()))


def test_calls_that_never_return_leave_their_places_to_others() -> None:
    async def scenario(free: threading.Event) -> None:
        pool = OutsidePool(threads=1, patience=0.05, most_stuck=2)
        for _ in range(2):
            with pytest.raises(RefusedError, match="took too long"):
                await pool.run("a", free.wait)
        pool.patience = 60
        with pytest.raises(RefusedError, match="not answered") as refused:
            await pool.run("b", str)
        assert refused.value.status == 503

        # What was given up returns at last.
        free.set()
        async with asyncio.timeout(60):
            while pool.stuck:
                await asyncio.sleep(0.01)
        assert await pool.run("b", str) == ""

    asyncio.run(scenario(threading.Event()))


def test_the_place_of_a_stuck_call_is_used_by_the_next_one() -> None:
    async def scenario(free: threading.Event) -> None:
        pool = OutsidePool(threads=1, patience=0.05)
        with pytest.raises(RefusedError):
            await pool.run("a", free.wait)
        pool.patience = 60
        assert await pool.run("a", int) == 0
        assert pool.stuck == 1
        free.set()

    asyncio.run(scenario(threading.Event()))


def test_an_error_of_a_call_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(OutsidePool().run("a", divmod, 1, 0))


async def ask(application: Any, path: str, method: str, client: str) -> int:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "headers": [],
        "client": (client, 1),
    }
    statuses: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status"))

    await application(scope, receive, send)
    return int(statuses[0])


@pytest.mark.parametrize("path", ["/hub/login", "/hub/api/user"])
def test_requests_that_hang_take_no_thread_from_others(path: str) -> None:
    """Neither those that wait for others nor many of one caller."""
    free = threading.Event()

    def view(environ: dict[str, Any], start_response: Any) -> HttpResponse:
        if environ["REQUEST_METHOD"] == "POST":
            free.wait(60)
        return HttpResponse()

    async def scenario() -> None:
        application = Application(view)  # type: ignore[arg-type]
        hanging = [
            asyncio.create_task(
                ask(
                    application,
                    path,
                    "POST",
                    f"10.0.0.{n % 9}" if "login" in path else "10.0.0.1",
                )
            )
            for n in range(40)
        ]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            for other in ("/hub/health", "/hub/login", "/hub/api/user"):
                assert await ask(application, other, "GET", "10.1.1.1") == 200
        assert not any(task.done() for task in hanging)
        free.set()
        assert set(await asyncio.gather(*hanging)) == {200}

    asyncio.run(scenario())


# Who waits for others keeps no connection to the database meanwhile.


class Connection:
    """A thread's connection to the database, outside of a transaction."""

    in_atomic_block = False
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Connection:
    connection = Connection()
    monkeypatch.setattr("web.outside.connection", connection)
    return connection


@pytest.mark.django_db
def test_a_function_of_the_operator_is_called_without_a_connection(
    settings: Any, released: Connection
) -> None:
    found: list[bool] = []

    def limit(asking: Any) -> int:
        found.append(released.is_closed)
        return 3

    settings.HUB = replace(settings.HUB, named_server_limit_per_user=limit)

    assert limit_of_names(Actor("user", "ada", None)) == 3
    assert found == [True]


def test_a_sign_on_site_is_asked_without_a_connection(released: Connection) -> None:
    with SocialAccountAdapter().get_requests_session():
        assert released.is_closed


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_proxy_is_asked_without_a_connection(
    method: str, ada: User, released: Connection, bearer: Any, settings: Any
) -> None:
    found: list[bool] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.append(released.is_closed)
            self.send_error(500)

        def log_message(self, *words: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        settings.HUB = replace(settings.HUB, proxy_api_url=url)
        body = json.dumps({"api_url": url, "auth_token": "x"})
        program = bearer(make_token(ada)[1])
        answer = program.generic(method, "/hub/api/proxy", body, "application/json")
        server.shutdown()
        thread.join()

    assert answer.status_code == 503
    assert found and all(found)


# Computing


def gather(pool: OutsidePool, *calls: Callable[[], object]) -> list[object]:
    """Run calls of different callers in a pool at the same time."""

    async def all_at_once() -> list[object]:
        named = enumerate(calls)
        return await asyncio.gather(*(pool.run(str(who), call) for who, call in named))

    return asyncio.run(all_at_once())


def test_few_requests_compute_at_once_until_they_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "POLITENESS", 60.0)
    lock, computing, most, waiting = threading.Lock(), 0, 0, threading.Barrier(8)

    def count(change: int) -> None:
        nonlocal computing, most
        with lock:
            computing += change
            most = max(most, computing)

    def call() -> None:
        count(1)
        # So that the others would run if they could.
        time.sleep(0.005)
        count(-1)
        outside.begin_to_wait()
        # All wait at the same time, because nobody who waits has a place.
        waiting.wait(60)

    gather(OutsidePool(threads=8), *[call] * 8)

    assert most <= outside.COMPUTING


def test_a_request_computes_anyway_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "POLITENESS", 0.01)
    # These requests compute until all of them do.
    together = threading.Barrier(4)

    gather(OutsidePool(threads=4), *[lambda: together.wait(60)] * 4)


def test_a_place_is_free_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "POLITENESS", 60.0)
    pool = OutsidePool(threads=4)

    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(outside.COMPUTING + 1):
        with pytest.raises(ZeroDivisionError):
            gather(pool, fail)
