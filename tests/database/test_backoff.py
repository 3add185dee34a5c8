"""Pauses grow after failures up to a limit, and begin again after a success."""

from __future__ import annotations

import asyncio

from database.backoff import Backoff


def test_pauses_grow_up_to_the_limit_and_begin_again() -> None:
    backoff = Backoff(0.5, 3)
    pauses = []
    for _ in range(5):
        pauses.append(backoff.pause)
        backoff.grow()
    backoff.reset()

    assert pauses == [0.5, 1, 2, 3, 3]
    assert backoff.pause == 0.5


async def _sleep_twice(backoff: Backoff) -> float:
    await backoff.sleep()
    await backoff.sleep()
    return backoff.pause


def test_sleeping_makes_the_next_pause_longer() -> None:
    assert asyncio.run(_sleep_twice(Backoff(0.001, 1))) == 0.004
