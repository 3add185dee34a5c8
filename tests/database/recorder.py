"""Records the locks of transactions in their order, from statements and rows.

A `SELECT … FOR` returns the ids of the rows that it locks. What an UPDATE or DELETE
locks shows in the table, where it makes new versions of rows. The rows to which new
foreign keys point are locked when the transaction ends.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connection

from database.locks import ORDER, Advisory
from scopes.definitions import DEFAULT_ROLES

ADVISORY = "pg_advisory_xact_lock"
CHANGE = re.compile(
    r'\s*(?:UPDATE|DELETE FROM|INSERT INTO(?=.* DO UPDATE)) "?(\w+)"?', re.S
)
INSERT = re.compile(r'\s*INSERT INTO "?(\w+)"?')
# From the weakest to the strongest.
STRENGTHS = ("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE")
SELECT = re.compile(rf'FROM "?(\w+)"?.* FOR ({"|".join(STRENGTHS)})', re.S)
# Without OF the rows of all joined tables are locked.
JOINED = re.compile(r"(?:(?! WHERE ).)*? FROM (?:(?! WHERE ).)* JOIN (?!.* OF )", re.S)

Lock = Advisory | str


class Table(NamedTuple):
    """What rows of a table say about their locks."""

    key: str
    # A change of these columns excludes foreign keys to the row.
    unique: list[str]
    # By column, the tables to which foreign keys point.
    foreign: dict[str, str]


class Transaction:
    """The locks of one transaction, and which of them are out of order."""

    def __init__(self) -> None:
        self.taken: list[Lock] = []
        self.wrong: list[str] = []
        # Rows that existed before; nobody else can lock new ones.
        self.present = {name: set(versions(name)) for name in tables()}
        self.held: dict[str, dict[Any, int]] = defaultdict(dict)
        self.changed: set[tuple[str, Any]] = set()
        self.pointed: list[tuple[str, Any]] = []

    def note(self, lock: Lock) -> None:
        if lock not in self.taken:
            self.taken.append(lock)

    def lock(self, table: str, ids: Iterable[Any], strength: int) -> list[Any]:
        """Note locks on rows; return the rows that were not locked before."""
        held = self.held[table]
        present = self.present.get(table, set())
        rows = sorted(present.intersection(ids))
        fresh = [pk for pk in rows if pk not in held]
        if fresh:
            if held and fresh[0] < max(held):
                self.wrong.append(f"{table} {fresh[0]} after {max(held)}")
            later = [
                other
                for other, locked in self.held.items()
                if locked and rank(other) > rank(table)
            ]
            if later:
                self.wrong.append(f"more rows of {table} after {later}")
        raised = [pk for pk in rows if held.get(pk, strength) < strength]
        if raised:
            self.wrong.append(f"{table} {raised} locked again, more strongly")
        for pk in rows:
            held[pk] = max(strength, held.get(pk, strength))
        return fresh

    def change(
        self, table: str, before: dict[Any, Any], after: dict[Any, Any], sql: str
    ) -> None:
        """Note the locks of a statement that changes rows."""
        names = tables()[table]
        count = 0
        if before.items() <= after.items() and CHANGE.match(sql):
            # With other rows the statement would lock some.
            self.note(table)
        for pk, old in sorted(before.items()):
            new = after.get(pk)
            if new == old:
                continue
            is_key = new is None or any(new[name] != old[name] for name in names.unique)
            strength = "UPDATE" if is_key else "NO KEY UPDATE"
            fresh = self.lock(table, [pk], STRENGTHS.index(strength))
            if fresh:
                self.note(table)
            count += len(fresh)
            if new is not None:
                # All foreign keys of a row that is changed twice are checked.
                is_second = (table, pk) in self.changed
                self.point(table, new, {} if is_second else old)
            self.changed.add((table, pk))
        if count > 1 and not SELECT.search(sql):
            self.wrong.append(f"{count} rows of {table} in no order")

    def point(self, table: str, row: dict[str, Any], old: dict[str, Any]) -> None:
        """Note the foreign keys of a row that was changed or inserted."""
        for column, other in tables()[table].foreign.items():
            if row[column] is not None and row[column] != old.get(column):
                self.pointed.append((other, row[column]))

    def insert(self, table: str, before: dict[Any, Any], after: dict[Any, Any]) -> None:
        for pk in sorted(after.keys() - before.keys()):
            self.point(table, after[pk], {})

    def end(self) -> None:
        """Note the locks of foreign keys, which are checked now."""
        for table, pk in self.pointed:
            # These roles are never deleted.
            if not (table == "accounts_role" and pk in default_roles()):
                self.lock(table, [pk], STRENGTHS.index("KEY SHARE"))

    @property
    def disorder(self) -> list[str]:
        ranks = [rank(lock) for lock in self.taken]
        return [
            *(
                f"{lock!r} after {before!r}"
                for before, lock, first, second in zip(
                    self.taken, self.taken[1:], ranks, ranks[1:], strict=False
                )
                if second < first
            ),
            *self.wrong,
        ]


class Recorder:
    """The locks of the transactions that run within a block.

    The block is part of a test's transaction, so that those in it are savepoints. A
    statement outside of them would be a transaction by itself.
    """

    def __init__(self) -> None:
        self.ended: list[Transaction] = []
        self.current: Transaction | None = None
        self.statements: list[str] = []
        self.depth = 0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, *more: Any
    ) -> Any:
        self.statements.append(sql)
        if sql.startswith("SAVEPOINT"):
            if not self.depth:
                self.current = Transaction()
            self.depth += 1
        elif sql.startswith("RELEASE"):
            self.depth -= 1
            if not self.depth:
                self._end()
        elif table := changed(sql):
            return self._change(table, execute, sql, params, many, *more)
        result = execute(sql, params, many, *more)
        if self.current is not None:
            self._note(self.current, sql, params, more[0]["cursor"].cursor)
        return result

    @property
    def transactions(self) -> list[list[Lock]]:
        return [each.taken for each in self.ended]

    @property
    def disorder(self) -> list[str]:
        """Name what was locked after something that comes later in the order."""
        return [wrong for each in self.ended for wrong in each.disorder]

    def _change(
        self, table: str, execute: Callable[..., Any], sql: str, *a: Any
    ) -> Any:
        alone = self.current is None
        if self.current is None:
            self.current = Transaction()
        current = self.current
        before = versions(table)
        result = execute(sql, *a)
        after = versions(table)
        current.change(table, before, after, sql)
        current.insert(table, before, after)
        if alone:
            self._end()
        return result

    def _note(self, current: Transaction, sql: str, params: Any, cursor: Any) -> None:
        lock = read(sql, params)
        if lock is not None:
            current.note(lock)
        found = SELECT.search(sql)
        if found is None:
            return
        table, strength = found[1], found[2]
        if JOINED.match(sql):
            current.wrong.append(f"rows that are joined to those of {table}")
        names = [column.name for column in cursor.description]
        key = "pk" if "pk" in names else tables()[table].key
        ids = [row[names.index(key)] for row in cursor.fetchall()]
        if ids:
            cursor.scroll(0, "absolute")
        if "SKIP LOCKED" in sql:
            # It waits for nobody, and may come at any time.
            current.held[table] |= dict.fromkeys(ids, STRENGTHS.index(strength))
        else:
            current.lock(table, ids, STRENGTHS.index(strength))

    def _end(self) -> None:
        assert self.current is not None
        self.current.end()
        self.ended.append(self.current)
        self.current = None


def read(sql: str, params: Any) -> Lock | None:
    """Tell what a statement locks, unless it passes over what others have locked."""
    if ADVISORY in sql:
        return Advisory(params[0])
    if "SKIP LOCKED" in sql:
        return None
    found = CHANGE.match(sql) or SELECT.search(sql)
    return found[1] if found else None


def changed(sql: str) -> str | None:
    """Return the table whose rows a statement changes or inserts."""
    found = CHANGE.match(sql) or INSERT.match(sql)
    return found[1] if found and found[1] in tables() else None


def rank(lock: Lock) -> int:
    return ORDER.index(lock) if lock in ORDER else len(ORDER)


def versions(name: str) -> dict[Any, dict[str, Any]]:
    """Return all rows of a table by their ids, with what tells versions apart."""
    table = tables()[name]
    columns = [*dict.fromkeys([table.key, *table.unique, *table.foreign]), "ctid"]
    with connection.connection.cursor() as cursor:
        listed = ", ".join(f'"{column}"' for column in columns)
        cursor.execute(f'SELECT {listed} FROM "{name}"')
        return {
            row[0]: dict(zip(columns, row, strict=True)) for row in cursor.fetchall()
        }


@cache
def tables() -> dict[str, Table]:
    """Return all tables."""
    found = {}
    for model in apps.get_models(include_auto_created=True):
        meta: Any = model._meta
        if not meta.managed or meta.proxy:
            continue
        foreign = {
            each.column: each.related_model._meta.db_table
            for each in meta.concrete_fields
            if each.is_relation and each.db_constraint
        }
        unique = unique_columns(meta.db_table)
        found[meta.db_table] = Table(meta.pk.column, unique, foreign)
    return found


def unique_columns(table: str) -> list[str]:
    with connection.connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT a.attname FROM pg_index i JOIN pg_attribute a"
            " ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)"
            " WHERE i.indrelid = %s::regclass AND i.indisunique"
            " AND i.indpred IS NULL AND i.indexprs IS NULL",
            [table],
        )
        return sorted(name for (name,) in cursor.fetchall())


def default_roles() -> set[int]:
    with connection.connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM accounts_role WHERE name = ANY(%s)", [[*DEFAULT_ROLES]]
        )
        return {pk for (pk,) in cursor.fetchall()}


@contextmanager
def recorded() -> Iterator[Recorder]:
    recorder = Recorder()
    with connection.execute_wrapper(recorder):
        yield recorder
