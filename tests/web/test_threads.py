"""A pool of threads for an event loop: fair queues, results, errors, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from web.threads import FairThreads


@pytest.fixture
def pool() -> Iterator[FairThreads]:
    pool = FairThreads(4, 2, "few")
    yield pool
    pool.executor.shutdown()


def thread_name() -> str:
    return threading.current_thread().name


def test_all_calls_are_made_in_its_threads(pool: FairThreads) -> None:
    async def scenario() -> set[str]:
        asyncio.get_running_loop().set_default_executor(pool.executor)
        calls = [pool.run(f"caller {n % 7}", thread_name) for n in range(500)]
        calls += [asyncio.to_thread(thread_name) for _ in range(20)]
        return set(await asyncio.gather(*calls))

    assert asyncio.run(scenario()) <= {f"few_{number}" for number in range(4)}
    assert not pool.lines
    assert not pool.ready


def test_calls_of_one_caller_are_made_in_order(pool: FairThreads) -> None:
    pool.most = 1
    made: list[int] = []

    async def scenario() -> None:
        await asyncio.gather(*(pool.run("a", made.append, n) for n in range(200)))

    asyncio.run(scenario())
    assert made == list(range(200))


def test_a_caller_leaves_threads_to_others(pool: FairThreads) -> None:
    gate = threading.Event()

    async def scenario() -> None:
        busy = [asyncio.create_task(pool.run("busy", gate.wait, 60)) for _ in range(50)]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            for number in range(20):
                await pool.run(f"other {number}", thread_name)
        assert not any(call.done() for call in busy)
        gate.set()
        assert all(await asyncio.gather(*busy))

    asyncio.run(scenario())


def test_who_waits_for_a_thread_comes_before_the_next_call_of_another() -> None:
    pool = FairThreads(1, 1, "one")
    made: list[str] = []
    gate = threading.Event()

    def note(name: str) -> None:
        gate.wait(60)
        made.append(name)

    async def scenario() -> None:
        calls = [asyncio.create_task(pool.run("a", note, f"a{n}")) for n in range(4)]
        await asyncio.sleep(0)
        calls.append(asyncio.create_task(pool.run("b", note, "b")))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*calls)

    asyncio.run(scenario())
    pool.executor.shutdown()
    assert made == ["a0", "b", "a1", "a2", "a3"]


def test_quick_calls_run_one_at_a_time(
    pool: FairThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.threads.PATIENCE", 3600)

    async def scenario() -> set[str]:
        calls = [pool.run(f"caller {n % 7}", thread_name) for n in range(500)]
        return set(await asyncio.gather(*calls))

    assert len(asyncio.run(scenario())) == 1


def test_as_many_calls_run_at_a_time_as_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.threads.PATIENCE", 3600)
    pool = FairThreads(4, 2, "some", at_once=3)
    meeting = threading.Barrier(3, timeout=60)

    async def scenario() -> None:
        for _ in range(5):
            calls = (pool.run(f"caller {n}", meeting.wait) for n in range(3))
            assert sorted(await asyncio.gather(*calls)) == [0, 1, 2]

    asyncio.run(scenario())
    pool.executor.shutdown()


def test_a_result_does_not_wait_for_the_next_call(pool: FairThreads) -> None:
    gate = threading.Event()

    async def scenario() -> None:
        first = asyncio.create_task(pool.run("a", thread_name))
        slow = asyncio.create_task(pool.run("a", gate.wait, 60))
        async with asyncio.timeout(30):
            await first
        assert not slow.done()
        gate.set()
        assert await slow

    asyncio.run(scenario())


def test_a_slow_call_that_ends_makes_room_for_the_callers_next_one(
    pool: FairThreads,
) -> None:
    gates = [threading.Event() for _ in range(2)]

    async def scenario() -> None:
        slow = [asyncio.create_task(pool.run("a", gate.wait, 60)) for gate in gates]
        third = asyncio.create_task(pool.run("a", thread_name))
        async with asyncio.timeout(30):
            # The other thread stays ready meanwhile.
            for _ in range(20):
                await pool.run("b", thread_name)
            assert not third.done()
            gates[0].set()
            await third
        gates[1].set()
        await asyncio.gather(*slow)

    asyncio.run(scenario())


def test_threads_end_when_there_are_no_calls(pool: FairThreads) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(pool.run(f"{n}", thread_name) for n in range(20)))
        async with asyncio.timeout(30):
            while pool.workers:
                await asyncio.sleep(0.01)
        assert (pool.quick, pool.idle, pool.is_watched) == (0, 0, False)
        assert await pool.run("a", thread_name)

    asyncio.run(scenario())


def test_what_a_call_raises_is_raised_to_who_awaits_it(pool: FairThreads) -> None:
    async def scenario() -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run("a", divmod, 1, 0)
        assert await pool.run("a", divmod, 1, 1) == (1, 0)

    asyncio.run(scenario())


def test_a_call_that_is_cancelled_before_it_begins_is_not_made(
    pool: FairThreads,
) -> None:
    gate = threading.Event()
    made: list[int] = []

    async def scenario() -> None:
        busy = [asyncio.create_task(pool.run("a", gate.wait, 60)) for _ in range(2)]
        late = asyncio.create_task(pool.run("a", made.append, 1))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        gate.set()
        await asyncio.gather(*busy)
        await pool.run("a", thread_name)

    asyncio.run(scenario())
    assert not made


def test_a_call_whose_caller_gave_up_harms_no_other(pool: FairThreads) -> None:
    begun, gate = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        gate.wait(60)

    async def scenario() -> None:
        given_up = asyncio.create_task(pool.run("a", wait))
        assert await pool.run("b", begun.wait, 60)
        given_up.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert await asyncio.gather(*(pool.run("a", thread_name) for _ in range(10)))

    asyncio.run(scenario())


def test_one_pool_serves_one_loop_after_another(pool: FairThreads) -> None:
    assert asyncio.run(pool.run("a", int)) == 0
    assert asyncio.run(pool.run("a", int)) == 0
