"""Waiting processes notice changes soon, and cost nothing without changes."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection, transaction

from database import notifications as changes
from database.notifications import Changes, Watcher, announce
from servers.models import Inquiry
from tests.controller.site import Site, default_database


def write(url: str) -> None:
    """Commit something from another connection."""
    with default_database(url), transaction.atomic():
        Inquiry.objects.create(kind="poll")
        announce()


def hear(site: Site, *, waiters: int = 1) -> list[float]:
    """Return how many seconds after a commit each waiter has heard of it."""
    with ThreadPoolExecutor(1) as pool:

        async def wait(changes: Changes) -> float:
            await changes.next(5)
            return time.monotonic()

        async def scenario() -> list[float]:
            loop = asyncio.get_running_loop()
            every = [Changes() for _ in range(waiters)]
            for each in every:
                await each.__aenter__()
            # The first tick says that one listens by now.
            await asyncio.gather(*(each.next(1) for each in every))
            waiting = [asyncio.create_task(wait(each)) for each in every]
            await asyncio.sleep(0.1)
            await loop.run_in_executor(pool, write, site.database_url)
            committed = time.monotonic()
            heard = await asyncio.gather(*waiting)
            for each in every:
                await each.__aexit__(None, None, None)
            return [moment - committed for moment in heard]

        return asyncio.run(scenario())


def test_commit_is_noticed_soon(site: Site):
    assert max(hear(site)) < 0.5


def test_all_waiters_are_woken(site: Site):
    heard = hear(site, waiters=20)

    assert len(heard) == 20 and max(heard) < 0.5


def test_silence_ends_with_the_time(site: Site):
    async def scenario() -> float:
        async with Changes() as changes:
            # A database that was just opened may seem to have changed once more, and
            # on a busy machine that shows late.
            longest = 0.0
            for _ in range(5):
                began = time.monotonic()
                await changes.next(0.2)
                longest = max(longest, time.monotonic() - began)
            return longest

    assert 0.15 < asyncio.run(scenario()) < 2


def test_missed_changes_are_noticed_at_once(site: Site):
    async def scenario() -> float:
        async with Changes() as changes:
            await changes.next(1)
            Watcher.of_this_loop()._notify()
            began = time.monotonic()
            await changes.next(5)
            return time.monotonic() - began

    assert asyncio.run(scenario()) < 0.5


def test_watcher_rests_when_nobody_waits(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(changes, "LINGER", 0.2)

    async def scenario() -> bool:
        async with Changes() as waiter:
            await waiter.next(0.1)
        task = Watcher.of_this_loop()._task
        assert task is not None
        for _ in range(100):
            if task.done():
                return True
            await asyncio.sleep(0.02)
        return False

    assert asyncio.run(scenario())


def test_session_that_was_ended_is_replaced(postgresql_site: Site):
    site = postgresql_site

    async def scenario() -> None:
        async with Changes() as waiter:
            await waiter.next(1)
            await asyncio.to_thread(end_listeners, site.database_url)
            # Once for the end, which counts as a change, and once for the new one.
            await waiter.next(5)
            await asyncio.sleep(0.5)
            await waiter.next(1)
            began = time.monotonic()
            asyncio.get_running_loop().run_in_executor(None, write, site.database_url)
            await waiter.next(5)
            assert time.monotonic() - began < 2

    asyncio.run(scenario())


def end_listeners(url: str) -> None:
    with default_database(url), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )


@pytest.mark.parametrize("reports", [True, False])
def test_writes_are_waited_for_with_and_without_reports_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: bool
):
    monkeypatch.setattr(changes, "QUIET_INTERVAL", 60.0)
    if not reports:
        monkeypatch.setattr("sys.platform", "another")

    async def scenario() -> None:
        writes = changes.FileWrites(tmp_path)
        assert (writes._inotify is not None) is reports
        writes._latest -= 10
        waiting = asyncio.create_task(writes.wait())
        await asyncio.sleep(0)
        (tmp_path / "file").write_text("something")
        async with asyncio.timeout(30):
            await waiting
        writes.close()

    asyncio.run(scenario())
