"""Requests that wait for others: which they are, and that nobody waits behind them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.http import HttpResponse

from web.asgi import Application
from web.bodies import RefusedError
from web.outside import OutsidePool, may_wait


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


def test_a_full_pool_refuses_at_once() -> None:
    async def scenario() -> None:
        free = threading.Event()
        pool = OutsidePool(threads=1, queue=1)
        running = [asyncio.create_task(pool.run(free.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refused:
            await pool.run(free.wait)
        assert refused.value.status == 503
        free.set()
        assert await asyncio.gather(*running) == [True, True]

    asyncio.run(scenario())


def test_a_peer_that_never_answers_is_given_up() -> None:
    async def scenario(free: threading.Event) -> None:
        pool = OutsidePool(threads=1, patience=0.05)
        with pytest.raises(RefusedError) as refused:
            await pool.run(free.wait)
        assert refused.value.status == 503
        assert pool.count == 0
        free.set()

    asyncio.run(scenario(threading.Event()))


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
    statuses = []

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
