"""Limits of bodies: size, credentials, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest
from django.core.wsgi import get_wsgi_application

from accounts.models import User
from hubsite.asgi import is_identified
from tests.factories import make_token
from web.asgi import Application
from web.bodies import (
    LARGE_PART,
    SMALL,
    BodyReader,
    ClientGoneError,
    RefusedError,
    own_limit,
)

LARGEST = 1_000_000


class Client:
    """Sends parts of a body; after the last of an endless one, nothing."""

    def __init__(self, parts: Iterable[bytes], *, endless: bool = False) -> None:
        self.parts = list(parts)
        self.endless = endless
        self.read = 0

    async def receive(self) -> dict[str, Any]:
        if not self.parts:
            await asyncio.sleep(3600 if self.endless else 0)
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        self.read += len(part)
        more = bool(self.parts) or self.endless
        return {"type": "http.request", "body": part, "more_body": more}


def reader(*, known: bool = True, seconds: float = 30) -> BodyReader:
    async def is_known(environ: dict[str, Any]) -> bool:
        return known

    return BodyReader(LARGEST, seconds, is_known)


async def read(bodies: BodyReader, client: Client, length: int | None = None) -> bytes:
    environ = (
        {"HTTP_TRANSFER_ENCODING": "chunked"}
        if length is None
        else {"CONTENT_LENGTH": str(length)}
    )
    async with bodies.read(environ, client.receive, "caller") as body:
        return body


def refused(
    bodies: BodyReader, client: Client, length: int | None = None
) -> RefusedError:
    with pytest.raises(RefusedError) as found:
        asyncio.run(read(bodies, client, length))
    return found.value


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, LARGEST])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_bodies_are_read_whole(size: int, is_chunked: bool) -> None:
    parts = [b"x" * min(50_000, size - at) for at in range(0, size, 50_000)] or [b""]
    length = None if is_chunked else size
    body = asyncio.run(read(reader(), Client(parts), length))
    assert body == b"x" * size


def test_a_small_body_is_read_from_anybody() -> None:
    client = Client([b"x" * SMALL])
    assert len(asyncio.run(read(reader(known=False), client, SMALL))) == SMALL


def test_a_large_body_without_credentials_is_refused_before_it_is_read() -> None:
    client = Client([b"x" * 300_000])
    assert refused(reader(known=False), client, 300_000).status == 403
    assert client.read == 0


def test_so_is_one_that_does_not_say_its_size() -> None:
    client = Client([b"x" * 10_000] * 50)
    assert refused(reader(known=False), client).status == 403
    assert client.read <= SMALL + 10_000


def test_a_body_that_never_ends_is_given_up() -> None:
    for length in (900_000, None, 100):
        client = Client([b"x" * 90], endless=True)
        assert refused(reader(seconds=0.05), client, length).status == 408


def test_a_large_body_may_take_longer_than_a_small_one() -> None:
    class Slow(Client):
        async def receive(self) -> dict[str, Any]:
            await asyncio.sleep(0.3)
            return await super().receive()

    body = asyncio.run(
        read(reader(seconds=1), Slow([b"x" * 260_000] * 3 + [b"x"] * 2), 780_002)
    )
    assert len(body) == 780_002


def test_a_client_that_disconnects_is_distinguished() -> None:

    async def scenario() -> None:
        environ = {"CONTENT_LENGTH": "10"}

        async def leave() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        with pytest.raises(ClientGoneError):
            async with reader().read(environ, leave, "caller"):
                raise AssertionError("there is no body")

    asyncio.run(scenario())


def test_memory_for_large_bodies_is_limited_for_each_caller_and_in_all() -> None:
    async def scenario() -> None:
        bodies = reader(seconds=0.2)
        environ = {"CONTENT_LENGTH": str(LARGEST)}

        async def hold(caller: str, done: asyncio.Event) -> bytes:
            client = Client([b"x" * LARGEST])
            async with bodies.read(environ, client.receive, caller) as body:
                await done.wait()
            return body

        done = asyncio.Event()
        holding = [asyncio.create_task(hold(name, done)) for name in "abc"]
        await asyncio.sleep(0)
        # A caller has memory for one such body, all together for four.
        with pytest.raises(RefusedError) as again:
            await hold("a", done)
        assert again.value.status == 503
        holding.append(asyncio.create_task(hold("d", done)))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError):
            await hold("e", done)
        # Small bodies need none of it.
        assert await read(bodies, Client([b"x" * SMALL]), SMALL)
        waiting = asyncio.create_task(hold("e", done))
        await asyncio.sleep(0)
        done.set()
        assert {len(body) for body in await asyncio.gather(*holding, waiting)} == {
            LARGEST
        }
        assert bodies.memory.free == 4 * LARGEST
        assert not bodies.memory.taken

    asyncio.run(scenario())


def environ(**headers: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/hub/api/users",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8081",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        **headers,
    }


@pytest.mark.django_db
@pytest.mark.django_db(transaction=True)
def test_tokens_and_sessions_identify_a_caller(alan: User, as_: Any) -> None:
    secret = make_token(alan)[1]
    client = as_(alan)
    session = client.cookies["jupyterhub-hub-login"].value
    cookie = f"jupyterhub-hub-login={session}"
    assert is_identified(environ(HTTP_AUTHORIZATION=f"token {secret}"))
    assert is_identified(environ(HTTP_COOKIE=cookie))
    assert not is_identified(environ())
    assert not is_identified(environ(HTTP_AUTHORIZATION=f"token {secret[:-1]}x"))
    assert not is_identified(environ(HTTP_COOKIE="jupyterhub-hub-login=made0up0key"))
    alan.is_active = False
    alan.save()
    assert not is_identified(environ(HTTP_AUTHORIZATION=f"token {secret}"))
    assert not is_identified(environ(HTTP_COOKIE=cookie))


# Views with a limit of their own

OWN = 3 * SMALL


def open_reader() -> BodyReader:
    async def is_known(environ: dict[str, Any]) -> bool:
        return False

    return BodyReader(LARGEST, 30, is_known, lambda environ: OWN)


async def read_open(client: Client, length: int | None, address: str) -> bytes:
    environ: dict[str, Any] = {"REMOTE_ADDR": address}
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        environ["CONTENT_LENGTH"] = str(length)
    async with open_reader().read(environ, client.receive, "caller") as body:
        return body


@pytest.mark.parametrize("states_length", [True, False])
def test_an_open_view_reads_bodies_up_to_its_own_limit(states_length: bool) -> None:
    client = Client([b"x" * SMALL] * 3)

    body = asyncio.run(read_open(client, OWN if states_length else None, "192.0.2.1"))

    assert len(body) == OWN


@pytest.mark.parametrize("states_length", [True, False])
def test_an_open_view_reads_no_larger_body(states_length: bool) -> None:
    client = Client([b"x" * SMALL] * 8)

    with pytest.raises(RefusedError) as found:
        length = 8 * SMALL if states_length else None
        asyncio.run(read_open(client, length, "192.0.2.1"))

    assert found.value.status == 413
    assert str(OWN) in found.value.message
    assert client.read <= (0 if states_length else 4 * SMALL)


def test_the_address_of_leaked_tokens_has_a_limit_of_its_own() -> None:
    def limit_of(path: str) -> int | None:
        return own_limit({"PATH_INFO": path, "RAW_URI": path})

    assert limit_of("/hub/api/tokens/leaked") == 512 * 1024
    assert limit_of("/hub/api/users") is None
    assert limit_of("/hub/api/nothing/here") is None


# Refused bodies


def test_large_parts_of_many_bodies_are_received_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.bodies.TURN", 3600.0)
    large = [Client([b"x" * LARGE_PART] * 9) for _ in range(4)]
    small = Client([b"x" * (LARGE_PART - 1)] * 9)

    async def some_time() -> int:
        bodies = reader()
        tasks = [
            asyncio.create_task(read(bodies, client, 9 * LARGE_PART))
            for client in large
        ]
        body = await asyncio.wait_for(read(bodies, small, 9 * LARGE_PART), 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(body)

    assert asyncio.run(some_time()) == 9 * (LARGE_PART - 1)
    # One takes its turn, and the others wait before their next part.
    assert {client.read for client in large} == {LARGE_PART}


def test_many_refused_bodies_are_discarded_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One part each, and again only after a pause for each of the others.
    monkeypatch.setattr("web.responses.PAUSE", 3600.0)
    monkeypatch.setattr("web.responses.LINGER", 0.05)
    application = Application(get_wsgi_application())
    clients = [Client([b"x" * SMALL] * 100) for _ in range(20)]

    async def discard_all() -> None:
        await asyncio.gather(*(application.sender.discard(c.receive) for c in clients))

    asyncio.run(discard_all())

    assert [client.read for client in clients] == [SMALL] * 20
    assert application.sender.discarding == 0


def test_a_refused_body_is_discarded_to_its_end() -> None:
    application = Application(get_wsgi_application())
    client = Client([b"x" * SMALL] * 100)

    asyncio.run(application.sender.discard(client.receive))

    assert not client.parts
