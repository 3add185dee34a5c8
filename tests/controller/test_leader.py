"""A term of leadership: background tasks begin and end with the term."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller import leader as reconciler
from controller.database import Database
from controller.leader import Leader
from controller.leadership import Lost
from controller.records import take_over
from controller.spawners.loading import Hosting
from servers.models import Leadership, Server
from tests.controller.site import Site


def lead(
    *background: Callable[[Leader], Awaitable[None]],
    until: Callable[[Leader], Awaitable[Any]],
) -> Leader:
    """Lead in this process until something is done."""

    async def scenario() -> Leader:
        database = Database()
        epoch = await database.run(take_over, "test", {})
        leader = Leader(
            epoch, {}, database=database, hosting=Hosting(), tasks=background
        )
        acting = asyncio.create_task(leader.run())
        doing = asyncio.create_task(until(leader))
        await asyncio.wait({acting, doing}, return_when=asyncio.FIRST_COMPLETED)
        if acting.done():
            acting.result()
        acting.cancel()
        await asyncio.wait({acting})
        doing.result()
        database.executor.shutdown()
        return leader

    return asyncio.run(asyncio.wait_for(scenario(), 20))


def test_background_ends_with_the_term(site: Site):
    said = []

    async def background(leader: Leader) -> None:
        said.append("begins")
        try:
            await asyncio.sleep(60)
        finally:
            said.append("ends")

    async def moment(leader: Leader) -> None:
        await asyncio.sleep(0.3)

    lead(background, until=moment)

    assert said == ["begins", "ends"]


def test_background_that_fails_is_started_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciler, "FIRST_PAUSE", 0.05)
    again = asyncio.Event()
    turns = []

    async def background(leader: Leader) -> None:
        turns.append(1)
        if len(turns) < 3:
            raise RuntimeError("a bad day")
        again.set()

    async def third(leader: Leader) -> None:
        await again.wait()

    lead(background, until=third)

    assert len(turns) == 3


def test_background_writes_only_while_it_leads(site: Site):
    site.user("alan")

    async def background(leader: Leader) -> None:
        await leader.write(Server.objects.create, user=site_user())
        await leader.ask(Leadership.objects.update, epoch=99)
        await leader.write(Server.objects.all().delete)

    def site_user() -> Any:
        return alan

    alan = site.user("alan")

    async def forever(leader: Leader) -> None:
        await asyncio.sleep(15)

    with pytest.raises(Lost):
        lead(background, until=forever)

    assert Server.objects.count() == 1


def test_callback_that_fails_harms_nobody(site: Site):
    site.start()
    heard = asyncio.Event()

    def bad(*args: Any) -> None:
        raise RuntimeError("a bad day")

    async def background(leader: Leader) -> None:
        leader.on_stopped += [bad, lambda *args: heard.set()]

    async def stopped(leader: Leader) -> None:
        await leader.ask(site.stop)
        await heard.wait()

    lead(background, until=stopped)

    assert not site.row().is_active
