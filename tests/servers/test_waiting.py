"""Wait on an event loop, with one query for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.db import InterfaceError

from servers import waiting
from servers.actions import start_server, stop_server
from servers.controller_calls import NoAnswer, ask, ask_async
from servers.models import Inquiry, Server
from servers.progress import follow
from servers.waiting import until_settled
from tests.factories import BY, make_server, make_user
from tests.servers.settler import Settler
from web.deferred import loop_beside

pytestmark = pytest.mark.django_db


def run(wait: Callable[[], Awaitable[Any]]) -> Any:
    """Wait on a loop whose threads are this one, as a test's transaction needs it."""

    async def main() -> Any:
        return await wait()

    with loop_beside() as run_coroutine:
        return run_coroutine(main())


def begin(count: int = 1) -> list[Server]:
    return [start_server(make_user(), "", by=BY)[0] for _ in range(count)]


def test_a_wish_is_waited_for(settler: Settler) -> None:
    (server,) = begin()

    settled = run(lambda: until_settled(server.pk, server.generation, 5))

    assert settled.ready
    assert settled.user.name == server.user.name


def test_no_longer_than_asked(settler: Settler) -> None:
    settler.starts = "hang"
    (server,) = begin()

    waited = run(lambda: until_settled(server.pk, server.generation, 0.1))

    assert waited.pending == "spawn"


def test_another_wish_ends_the_wait_for_this_one(settler: Settler) -> None:
    settler.starts, settler.stops = "hang", "hang"
    (server,) = begin()
    settler.before.append(lambda: stop_server(server.user, "", by=BY))

    waited = run(lambda: until_settled(server.pk, server.generation, 5))

    assert waited.pending == "stop"


def test_what_is_gone_is_not_waited_for(settler: Settler) -> None:
    (server,) = begin()
    settler.before.append(lambda: Server.objects.all().delete())

    assert run(lambda: until_settled(server.pk, server.generation, 5)) is None


def test_what_is_being_verified_is_not_settled_yet(settler: Settler) -> None:
    server = make_server(pending="check", generation=4, settled=4)

    waited = run(lambda: until_settled(server.pk, 4, 0.1))

    assert waited.pending == "check"


def test_all_who_wait_share_their_looks(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    read_rows = waiting.read_rows

    def counted(ids: Any, *rest: Any) -> Any:
        looks.append(len(ids))
        return read_rows(ids, *rest)

    monkeypatch.setattr(waiting, "read_rows", counted)
    servers = begin(40)

    async def follow_all() -> list[Any]:
        async def events(server: Server) -> list[Any]:
            return [event async for event in follow(server, 8) if event]

        return await asyncio.gather(*map(events, servers))

    told = run(follow_all)

    assert all(events[-1]["ready"] for events in told)
    assert all(len(events) == 3 for events in told)
    assert max(looks) == 40
    assert len(looks) < 40


@pytest.mark.parametrize("error", [InterfaceError, ValueError])
def test_a_look_that_fails_is_not_the_last(
    settler: Settler, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    read_rows, failures = waiting.read_rows, [error("odd")]

    def fail_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return read_rows(*arguments)

    monkeypatch.setattr(waiting, "read_rows", fail_once)
    monkeypatch.setattr(waiting, "PAUSE", 0.01)
    (server,) = begin()

    async def events() -> list[Any]:
        async with asyncio.timeout(5):
            return [event async for event in follow(server, 8) if event]

    assert run(events)[-1]["ready"]


def test_questions_are_answered_and_forgotten(settler: Settler) -> None:
    (server,) = begin()

    answer = run(lambda: ask_async("poll", server_id=server.pk))

    assert answer == {"alive": True}
    assert settler.asked == [{"server_id": server.pk}]
    assert not Inquiry.objects.exists()


def test_questions_that_nobody_answers(settler: Settler) -> None:
    settler.answers = False

    with pytest.raises(NoAnswer):
        run(lambda: ask_async("poll", 0.1, server_id=1))
    with pytest.raises(NoAnswer):
        ask("poll", 0.1, server_id=1)
    assert not Inquiry.objects.exists()
