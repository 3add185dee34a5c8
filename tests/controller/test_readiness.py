"""The controller notices at once that a server is ready, or has ended."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

import pytest

from controller.readiness import NotReady, status_of, until_ready
from controller.spawners import ports
from tests.ports import free_ports


@asynccontextmanager
async def server(answers: Iterator[bytes], port: int = 0) -> AsyncIterator[str]:
    """Listen, and answer each request with the next of these."""

    async def converse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked.append(await reader.readline())
        writer.write(next(answers))
        await writer.drain()
        writer.close()

    asked: list[bytes] = []
    listening = await asyncio.start_server(converse, "127.0.0.1", port)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield f"http://127.0.0.1:{port}/user/a%20b/"
    assert all(line.startswith(b"GET /user/a%20b/api HTTP/1.1") for line in asked)


def reply(status: int) -> bytes:
    return f"HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n".encode()


async def alive() -> None:
    return None


@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_any_answer_but_an_error_will_do(status: int):
    async def scenario() -> None:
        async with server(repeat(reply(status))) as url:
            await until_ready(url, 5, alive)
            assert await status_of(f"{url}api") == status

    asyncio.run(scenario())


def test_errors_and_nonsense_are_asked_again():
    async def scenario() -> None:
        answers = chain([reply(503), b"", b"SSH-2.0\r\n", b"HTTP/1.1\r\n"])
        async with server(chain(answers, repeat(reply(200)))) as url:
            await until_ready(url, 5, alive)

    asyncio.run(scenario())


def test_late_server_is_noticed_soon():
    async def scenario() -> float:
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}/user/a%20b/"
        waiting = asyncio.create_task(until_ready(url, 10, alive))
        await asyncio.sleep(1)
        async with server(repeat(reply(200)), port):
            began = time.monotonic()
            await waiting
            return time.monotonic() - began

    assert asyncio.run(scenario()) < 0.6


def test_end_of_the_process_is_noticed_before_time_is_up():
    async def dead() -> int:
        return 3

    async def scenario() -> None:
        (port,) = free_ports(1)
        await until_ready(f"http://127.0.0.1:{port}/", 30, dead)

    began = time.monotonic()
    with pytest.raises(NotReady) as refused:
        asyncio.run(scenario())

    assert refused.value.status == 3
    assert time.monotonic() - began < 2


def test_time_ends_even_if_nothing_can_be_found_out():
    async def confused() -> None:
        raise RuntimeError("no daemon")

    async def scenario() -> None:
        async with server(repeat(reply(500))) as url:
            await until_ready(url, 0.5, confused)

    with pytest.raises(NotReady) as refused:
        asyncio.run(scenario())

    assert refused.value.status is None


def test_local_server_that_has_ended_is_not_ready_though_another_program_answers():
    async def ended() -> int:
        return 1

    async def scenario() -> None:
        async with server(repeat(reply(200))) as url:
            with pytest.raises(NotReady) as raised:
                await until_ready(url, 5, ended, is_local=True)
            assert raised.value.status == 1

    asyncio.run(scenario())


def test_a_free_port_is_given_once(monkeypatch: pytest.MonkeyPatch):
    """The kernel offers a port again while its server has not begun to listen."""
    offered = iter([40001, 40001, 40001, 40002])

    class Listener(socket.socket):
        def bind(self, address: object) -> None:
            self.port = next(offered)

        def getsockname(self) -> tuple[str, int]:
            return ("", self.port)

    monkeypatch.setattr(ports, "_given", {})
    monkeypatch.setattr("controller.spawners.ports.socket.socket", Listener)

    assert [ports.free_port(), ports.free_port()] == [40001, 40002]
