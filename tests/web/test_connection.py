"""Limits of a connection: what is parsed at once, without time for other requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tests.web.test_asgi import Wire
from web.connection import MOST_CHUNKS, MOST_IN_ADVANCE, LimitedConnection

REQUEST = b"GET /hub/api/user HTTP/1.1\r\nHost: hub\r\n\r\n"
CHUNKED = b"POST /hub/api/users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def received(*parts: bytes) -> tuple[bytes, list[dict[str, Any]]]:
    """Send parts; return what came back, and the requests that were begun."""
    begun: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        begun.append(scope)
        await asyncio.sleep(0.01)
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def travel() -> bytes:
        asgi: Any = application
        config = uvicorn.Config(
            asgi, interface="asgi3", proxy_headers=False, log_config=None
        )
        config.load()
        server = ServerState()
        connection = LimitedConnection(config, server, {})
        wire = Wire("127.0.0.1")
        connection.connection_made(wire)
        for part in parts:
            connection.data_received(part)
        if wire.is_closing():
            connection.connection_lost(None)
        while server.tasks:
            await asyncio.gather(*server.tasks)
            await asyncio.sleep(0)
        return wire.written

    return asyncio.run(travel()), begun


@pytest.mark.parametrize("size", [1, 1000])
def test_a_body_may_have_many_chunks(size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)

    answer, _ = received(CHUNKED + chunk * MOST_CHUNKS, b"0\r\n\r\n")

    # The last chunk, which is empty, counts as well.
    assert answer.startswith(b"HTTP/1.1 400 ")
    answer, _ = received(CHUNKED + chunk * (MOST_CHUNKS - 1), b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ")


def test_chunks_are_counted_over_all_parts_of_a_body() -> None:
    parts = [b"1\r\nx\r\n" * (MOST_CHUNKS // 4)] * 5

    answer, _ = received(CHUNKED, *parts)

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_chunks_are_counted_anew_for_each_request() -> None:
    body = b"1\r\nx\r\n" * (MOST_CHUNKS // 2) + b"0\r\n\r\n"

    answer, begun = received(*(CHUNKED + body for _ in range(3)))

    assert answer.count(b"HTTP/1.1 204 ") == len(begun) == 3


def test_some_requests_may_be_sent_without_waiting() -> None:
    answer, begun = received(REQUEST * MOST_IN_ADVANCE, REQUEST)

    assert answer.count(b"HTTP/1.1 204 ") == len(begun) == MOST_IN_ADVANCE + 1


def test_more_requests_at_once_end_the_connection() -> None:
    answer, begun = received(REQUEST * (MOST_IN_ADVANCE + 1), REQUEST * 1000)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert len(begun) <= 1
