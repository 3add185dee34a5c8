"""Changes of many rows in batches, so that no other writer waits for long.

SQLite has one writer at a time, and PostgreSQL keeps a row locked until its transaction
ends. Ten thousand users deactivated in one transaction would block other writers for
seconds. So an action on many rows is divided: each batch is a transaction of its own
with its own entry in the audit log, and others write between two batches.

Three rules follow:

* Everything that can be refused is refused before the first batch.
* An interrupted action is done for some rows and not at all for the others, as the
  audit log shows. Repeating the action does the rest.
* Within a transaction all batches are part of that one. Actions in batches are called
  outside of transactions, or for few rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final, TypeVar

from django.db import connection, transaction

T = TypeVar("T")
R = TypeVar("R")

# Opens the transaction of a batch, and may check the result before the transaction
# ends.
Transaction = Callable[[], AbstractContextManager[object]]

# Rows that one transaction changes with their dependent rows: a tenth of a second at
# most on a small machine.
ROWS: Final = 250
# Batch size for rows with very many dependent rows.
HEAVY_ROWS: Final = 20
# Seconds between two transactions. SQLite's writers try every 25 ms at first.
PAUSE: Final = 0.05


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Divide items into lists of at most this size."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def in_batches(
    items: Iterable[T],
    act: Callable[[list[T]], R],
    *,
    size: int = ROWS,
    within: Transaction = transaction.atomic,
) -> list[R]:
    """Call a function for so many items at a time, each time in its own transaction.

    Returns the results of all calls.
    """
    results: list[R] = []
    for batch in batches(items, size):
        if results:
            give_way()
        with within():
            results.append(act(batch))
    return results


def give_way() -> None:
    """Pause so that others can write, unless a transaction is open."""
    if not connection.in_atomic_block:
        time.sleep(PAUSE)
