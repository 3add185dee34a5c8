"""All database locks of the hub, and their one order.

Two transactions that lock the same things in different orders wait for each other.
PostgreSQL ends one of them after a second as a deadlock. So every transaction locks in
the order of `ORDER`, and rows of one table in the order of their ids. A lock may be
skipped, and a lock that is held may be taken again.

Four rules follow:

* The rows of one table are locked together, and each as strongly as is needed later. A
  lock that is raised waits for those who keep the row, and they may wait for this
  transaction.
* An UPDATE or DELETE locks the rows that it changes. If these can be several, or if
  other locks follow, `locked` takes them first.
* A row with a foreign key locks the row that it points to when the transaction commits,
  because the foreign key is checked then. If the transaction holds other locks, `keep`
  takes this lock at its place in the order. PostgreSQL also checks the foreign keys of
  a row that the transaction changes twice, even if they stay the same.
* Functions of the configuration, requests to other programs and everything else that
  is slow run before the first lock.

SQLite has one writer at a time and needs no other locks, so these functions only order
the rows there.
"""

# Table names come from models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import groupby
from typing import Any, Final, TypeVar

from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector

M = TypeVar("M", bound=Model)


class Advisory(IntEnum):
    """The advisory locks of PostgreSQL that the hub uses, by their numbers.

    Hubs of an earlier version may run beside this one, so numbers are not reused.
    """

    # Held by a session: one replica migrates, and the others wait.
    MIGRATION = 7268
    # Held by a session: one controller leads.
    CONTROLLER = 7269
    # One replica applies the configuration to the database.
    CONFIGURATION = 7267
    # Events of the audit log are sealed, one batch after the other.
    AUDIT_CHAIN = 7273
    # Rows of a JupyterHub database are imported, one batch after the other.
    IMPORT = 7274
    # Administrators lose rights one after the other.
    ADMINISTRATORS = 7272
    # Servers are counted against the limits, and started or stopped.
    CAPACITIES = 7_255_011
    # Lists of new names: two lists with the same names in other orders would wait for
    # each other in the index.
    USER_NAMES = 7270
    GROUP_NAMES = 7271


# The order of locking: advisory locks, and tables for their rows.
ORDER: Final[tuple[Advisory | str, ...]] = (
    Advisory.MIGRATION,
    Advisory.CONTROLLER,
    Advisory.CONFIGURATION,
    # Every transaction of a controller begins with this row.
    "servers_leadership",
    Advisory.AUDIT_CHAIN,
    Advisory.IMPORT,
    Advisory.ADMINISTRATORS,
    Advisory.CAPACITIES,
    Advisory.USER_NAMES,
    Advisory.GROUP_NAMES,
    "accounts_role",
    "accounts_group",
    "accounts_user",
    "accounts_signup",
    "services_service",
    "servers_server",
    "tokens_bulkchange",
    "tokens_apitoken",
    "oauth_oauthclient",
    "oauth_oauthcode",
    "oauth_devicerequest",
    "oauth_spentassertion",
    "tokens_leakreport",
    "tokens_leak",
    "tokens_tokenexchange",
    "tokens_previoussecret",
    "tokens_tokenuse",
    "tokens_tokenday",
    "tokens_tokenrate",
    "tokens_tokenoperation",
    "tokens_tokennotice",
    "tokens_tokenpolicy",
    "tokens_tokenrequest",
    "tokens_tokenpreferences",
    "servers_serverevent",
    "servers_share",
    "servers_sharecode",
    "servers_inquiry",
    "servers_announcedproxy",
    "accounts_group_roles",
    "accounts_user_roles",
    "accounts_user_groups",
    "services_service_roles",
    "accounts_authstate",
    "moving_importrun",
    "moving_importedrow",
    "usersessions_usersession",
    "django_session",
)


def wait_for(lock: Advisory, *, seconds: float | None = None) -> None:
    """Take an advisory lock until the end of the transaction.

    Waits as long as for other locks, or at most `seconds`; 0 is without limit.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        if seconds is None:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int(lock)])
            return
    with patience(seconds):
        wait_for(lock)


def hold(lock: Advisory) -> None:
    """Take an advisory lock until this session ends, however long the wait."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
            cursor.execute("SELECT pg_advisory_lock(%s)", [int(lock)])


# For a session of one's own: takes a lock until the session ends, or returns false.
TRY_TO_HOLD: Final = "SELECT pg_try_advisory_lock(%s)"


def locked(rows: QuerySet[M], *, for_deletion: bool = False) -> QuerySet[M]:
    """Lock rows when the queryset is evaluated, in the order of their ids.

    Others may still add rows that point to them, except with `for_deletion`.
    """
    of = ("self",) if rows.query.select_related else ()
    if not of and sum(map(bool, rows.query.alias_refcount.values())) > 1:
        # The rows of a joined table would be locked, too, and OF has no effect on a
        # SELECT of values.
        rows = rows.model._base_manager.filter(pk__in=rows.order_by().values("pk"))
    return rows.select_for_update(of=of, no_key=not for_deletion).order_by("pk")


def lock_all(rows: QuerySet[Any], *, for_deletion: bool = False) -> list[Any]:
    """Lock rows now, and return their ids in order.

    SQLite locks no rows, so nothing is read there.
    """
    if connection.vendor != "postgresql":
        return []
    return list(locked(rows, for_deletion=for_deletion).values_list("pk", flat=True))


def for_update() -> str:
    """Return the end of a SELECT that locks its rows, for raw SQL."""
    return " FOR UPDATE" if connection.vendor == "postgresql" else ""


def lock_tree(rows: QuerySet[Any]) -> None:
    """Lock rows and all rows that their deletion will delete or change."""
    if connection.vendor != "postgresql":
        return
    collector = Collector(using=connection.alias, origin=rows)
    collector.collect(rows)
    reached: list[QuerySet[Any]] = [rows, *collector.fast_deletes]
    for model, found in collector.data.items():
        reached.append(_same_rows(model, found))
    updates: Any = collector.field_updates
    for (field, _), changes in updates.items():
        for change in changes:
            is_query = isinstance(change, QuerySet)
            reached.append(change if is_query else _same_rows(field.model, change))
    for each in sorted(reached, key=_rank):
        lock_all(each, for_deletion=True)


def delete_all(rows: QuerySet[Any]) -> int:
    """Delete rows in their order; return the number of rows, with dependent ones."""
    lock_tree(rows)
    number, _ = rows.order_by().delete()
    return number


def keep(model: type[Model], *ids: Any) -> None:
    """Prevent the deletion of these rows until the end of the transaction.

    This is the lock that a foreign key to them takes; it allows all other changes.
    """
    if connection.vendor == "postgresql":
        _lock_rows(model, ids, "KEY SHARE")


def lock_and_keep(
    model: type[Model], changed: Iterable[Any], kept: Iterable[Any]
) -> None:
    """Lock rows that change and keep others, all in the order of their ids.

    Two calls, one for each purpose, would lock some rows after others with higher ids,
    and would raise the lock of a row that is both kept and changed.
    """
    if connection.vendor != "postgresql":
        return
    strong = set(changed)
    ids = sorted(strong.union(kept))
    for is_strong, run in groupby(ids, strong.__contains__):
        _lock_rows(model, run, "NO KEY UPDATE" if is_strong else "KEY SHARE")


def fixed_value(model: type[Model], pk: Any, column: str) -> Any:
    """Return a column of a row, fixed until the transaction ends."""
    strength = " FOR SHARE" if connection.vendor == "postgresql" else ""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, {quote(column)} FROM {quote(model._meta.db_table)}"
            f" WHERE id = %s{strength}",
            [pk],
        )
        found = cursor.fetchone()
    return None if found is None else found[1]


def lock_free(table: str, ids: list[Any]) -> set[Any]:
    """Lock those rows that are not locked by others; return their ids.

    The function never waits, so its place in the order does not matter.
    """
    if connection.vendor != "postgresql":
        return set(ids)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {connection.ops.quote_name(table)}"
            " WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED",
            [ids],
        )
        return {pk for (pk,) in cursor.fetchall()}


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Wait at most so long for each lock of this transaction; 0 is without limit."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (usual,) = cursor.fetchone()
    _set_patience(f"{seconds * 1000:.0f}")
    yield
    # After an error the transaction is over, and its settings with it.
    _set_patience(usual)


def _set_patience(milliseconds: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [milliseconds])


@contextmanager
def brief_transaction(seconds: float) -> Iterator[None]:
    """Open a transaction that fails after a longer wait for others.

    For optional writes of a request that mainly reads, which should not wait for a
    writer.
    """
    if connection.vendor == "postgresql":
        is_whole = not connection.in_atomic_block
        with transaction.atomic():
            if is_whole:
                # It ends with the transaction.
                _set_patience(f"{seconds * 1000:.0f}")
                yield
            else:
                with patience(seconds):
                    yield
        return
    # On SQLite the whole transaction waits, not a single lock.
    connection.ensure_connection()
    usual = connection.settings_dict["OPTIONS"].get("timeout", 5)
    execute = connection.connection.execute
    execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
    try:
        with transaction.atomic():
            yield
    finally:
        execute(f"PRAGMA busy_timeout = {usual * 1000:.0f}")


def _same_rows(model: type[Model], found: Iterable[Model]) -> QuerySet[Any]:
    return model._base_manager.filter(pk__in=[row.pk for row in found])


def _rank(rows: QuerySet[Any]) -> tuple[int, str]:
    table = rows.model._meta.db_table
    # Tables of libraries, which are never locked before others, come last.
    return (ORDER.index(table) if table in ORDER else len(ORDER), table)


def _lock_rows(model: type[Model], ids: Any, strength: str) -> None:
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {table} WHERE id = ANY(%s) ORDER BY id FOR {strength}",
            [sorted(set(ids))],
        )
