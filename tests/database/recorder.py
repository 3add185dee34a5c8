"""Records the locks of transactions in their order, from the statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from database.locks import ORDER, Advisory

ADVISORY = "pg_advisory_xact_lock"
CHANGE = re.compile(r'\s*(?:UPDATE|DELETE FROM) "?(\w+)"?')
STRENGTHS = "NO KEY UPDATE|UPDATE|SHARE|KEY SHARE"
SELECT = re.compile(rf'FROM "?(\w+)"?.* FOR (?:{STRENGTHS})', re.S)

Lock = Advisory | str


class Recorder:
    """The locks of the transactions that run within a block.

    The block is part of a test's transaction, so that those in it are savepoints. What
    is outside of them would be a transaction by itself.
    """

    def __init__(self) -> None:
        self.transactions: list[list[Lock]] = []
        self.statements: list[str] = []
        self.depth = 0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, *more: Any
    ) -> Any:
        self.statements.append(sql)
        if sql.startswith("SAVEPOINT"):
            if not self.depth:
                self.transactions.append([])
            self.depth += 1
        elif sql.startswith("RELEASE"):
            self.depth -= 1
        elif self.depth:
            lock = read(sql, params)
            if lock is not None and lock not in self.transactions[-1]:
                self.transactions[-1].append(lock)
        return execute(sql, params, many, *more)

    @property
    def disorder(self) -> list[str]:
        """Name what was locked after something that comes later in the order."""
        wrong = []
        for taken in self.transactions:
            ranks = [ORDER.index(lock) if lock in ORDER else 99 for lock in taken]
            wrong += [
                f"{lock!r} after {before!r}"
                for before, lock, first, second in zip(
                    taken, taken[1:], ranks, ranks[1:], strict=False
                )
                if second < first
            ]
        return wrong


def read(sql: str, params: Any) -> Lock | None:
    """Tell what a statement locks, unless it passes over what others have locked."""
    if ADVISORY in sql:
        return Advisory(params[0])
    if "SKIP LOCKED" in sql:
        return None
    found = CHANGE.match(sql) or SELECT.search(sql)
    return found[1] if found else None


@contextmanager
def recorded() -> Iterator[Recorder]:
    recorder = Recorder()
    with connection.execute_wrapper(recorder):
        yield recorder
