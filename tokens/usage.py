"""Where, when and for what tokens are used: collected in memory, written in batches.

A request only adds one tuple to a queue, without a lock and without a query. The rounds
of `tokens/activity.py` sort the queue by token and write each token at most once a
minute, however many requests and processes use it: the row of the day has the time of
the last write, and a process that finds a recent one keeps its own uses in memory. The
first use after a pause is written at once.

Memory is bounded: beyond the limits below, uses are dropped, and their number is
logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.db import connection

from database.batches import batches
from database.locks import delete_all, lock_all, lock_free
from tokens import notices
from tokens.models import APIToken, TokenDay, TokenOperation, TokenUse
from tokens.networks import network_around
from tokens.usage_chart import DAYS
from web.redaction import redact

logger = logging.getLogger(__name__)

# Uses that wait to be sorted; each takes some hundred bytes. The queue is emptied every
# second, and so holds more than this only if the database makes the writer wait.
QUEUE: Final = 50_000
# Tokens with uses that are not written yet, and tokens whose last write is known.
MEMORY: Final = 50_000
# Distinct pairs of network and agent that are kept for a token.
PAIRS: Final = 5
# Operations of a token that one write may contain; the API has fewer.
OPERATIONS: Final = 500
# Seconds between two writes of a token.
INTERVAL: Final = 60.0
# Tokens that one transaction writes.
BATCH: Final = 500
LONGEST_AGENT: Final = 255
KEPT: Final = timedelta(days=DAYS)


class Use(NamedTuple):
    """One request with a token. A refused one has an endpoint, but no operation."""

    token_id: int
    at: float
    address: str
    agent: str
    endpoint: str
    operation: str
    scopes: tuple[str, ...]


@dataclass(slots=True)
class Uses:
    """The uses of one token that are not written yet."""

    at: float = 0.0
    address: str = ""
    agent: str = ""
    endpoint: str = ""
    days: dict[date, int] = field(default_factory=dict)
    # First and last time of each pair of network and agent, the latest last.
    pairs: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    operations: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, use: Use) -> None:
        agent = _cleaned(use.agent)
        if use.at >= self.at:
            self.at, self.address, self.agent = use.at, use.address[:64], agent
            self.endpoint = use.endpoint[:255]
        day = _day(int(use.at // 86_400))
        self.days[day] = self.days.get(day, 0) + 1
        if network := network_around(use.address):
            pair = (network, agent)
            first, _ = self.pairs.pop(pair, (use.at, use.at))
            self.pairs[pair] = (first, use.at)
            if len(self.pairs) > PAIRS:
                del self.pairs[next(iter(self.pairs))]
        if use.operation and len(self.operations) < OPERATIONS:
            for scope in use.scopes or ("",):
                self.operations[use.operation, scope] = use.at

    def join(self, later: Uses) -> None:
        """Add uses that were collected later."""
        if later.at >= self.at:
            self.at, self.address, self.agent = later.at, later.address, later.agent
            self.endpoint = later.endpoint
        for day, count in later.days.items():
            self.days[day] = self.days.get(day, 0) + count
        for pair, (first, last) in later.pairs.items():
            self.pairs[pair] = (self.pairs.pop(pair, (first, last))[0], last)
        while len(self.pairs) > PAIRS:
            del self.pairs[next(iter(self.pairs))]
        self.operations |= later.operations


class Collector:
    """The uses of all tokens in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Drop the uses that are not written."""
        self.queue: deque[Use] = deque()
        self.pending: dict[int, Uses] = {}
        # The time before which a token is not written again.
        self.due: dict[int, float] = {}
        self.lost = 0

    def note(self, use: Use) -> None:
        """Store a use; called in each request."""
        if len(self.queue) < QUEUE:
            self.queue.append(use)
        else:
            self.lost += 1

    def sort(self) -> None:
        """Sort the queue by token."""
        with self.lock:
            for _ in range(len(self.queue)):
                use = self.queue.popleft()
                uses = self.pending.get(use.token_id)
                if uses is None:
                    if len(self.pending) >= MEMORY:
                        self.lost += 1
                        continue
                    uses = self.pending[use.token_id] = Uses()
                uses.add(use)
            if self.lost:
                logger.warning("%s uses of tokens were not counted", self.lost)
                self.lost = 0

    @property
    def has_news(self) -> bool:
        """Whether a use can be written now."""
        self.sort()
        now = time.time()
        return any(self.due.get(pk, 0) <= now for pk in list(self.pending))

    @property
    def is_waiting(self) -> bool:
        return bool(self.queue or self.pending)

    def take(self, now: float, *, all_of_them: bool = False) -> dict[int, Uses]:
        """Return the uses that can be written now, and remove them."""
        self.sort()
        with self.lock:
            if len(self.due) > MEMORY:
                self.due = {pk: due for pk, due in self.due.items() if due > now}
            return {
                pk: self.pending.pop(pk)
                for pk in sorted(self.pending)
                if all_of_them or self.due.get(pk, 0) <= now
            }

    def give_back(self, taken: dict[int, Uses]) -> None:
        """Store uses again that could not be written, for a later round."""
        with self.lock:
            for pk, uses in taken.items():
                if (later := self.pending.get(pk)) is not None:
                    uses.join(later)
                self.pending[pk] = uses

    def settle(self, written: Written) -> None:
        """Store what became of uses, once that is committed."""
        self.give_back(written.kept)
        with self.lock:
            self.due |= written.due


collector = Collector()


class Written(NamedTuple):
    """What became of the uses in one transaction.

    `kept` are left for a later round; `due` are the times before which tokens are not
    written again.
    """

    kept: dict[int, Uses]
    due: dict[int, float]


def write(taken: dict[int, Uses], now: float, *, all_of_them: bool = False) -> Written:
    """Write uses in the transaction of the caller.

    Tokens that others have locked, or that another process wrote within the last
    minute, are left for later. Uses of deleted tokens are dropped.
    """
    written = Written({}, {})
    for ids in batches(sorted(taken), BATCH):
        free = lock_free(APIToken._meta.db_table, ids)
        tokens = APIToken.objects.filter(pk__in=ids).only("pk", "purpose", "user_id")
        rows = {token.pk: token for token in tokens}
        known = _known_days(taken, [pk for pk in ids if pk in rows and pk in free])
        chosen: list[int] = []
        for pk in ids:
            if pk not in rows:
                continue
            if pk not in free:
                written.kept[pk] = taken[pk]
                continue
            moments = [row.written_at for row in known[pk] if row.written_at]
            due = max(moments).timestamp() + INTERVAL if moments else 0.0
            if due > now and not all_of_them:
                written.kept[pk] = taken[pk]
                written.due[pk] = due
            else:
                chosen.append(pk)
                written.due[pk] = now + INTERVAL
        if chosen:
            _write_pairs(taken, [rows[pk] for pk in chosen])
            _write_days(taken, chosen, known, now)
            _write_operations(taken, chosen)
            _write_last(taken, chosen, known)
    return written


def purge_usage(now: datetime, most: int = BATCH) -> int:
    """Delete a batch of old usage, and of usage of deleted tokens; return the number.

    The latest networks of a token stay, because a network counts as new without them.
    """
    number = 0
    old: dict[Any, dict[str, Any]] = {
        TokenDay: {"day__lt": (now - KEPT).date()},
        TokenOperation: {"last_at__lt": now - KEPT},
    }
    for model in (TokenUse, TokenDay, TokenOperation):
        rows = model._default_manager.order_by("pk")
        wanted: set[int] = set()
        if model in old:
            outdated = rows.filter(**old[model]).values_list("pk", flat=True)
            wanted.update(outdated[:most])
        table = connection.ops.quote_name(model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {table} u WHERE NOT EXISTS"  # noqa: S608
                " (SELECT 1 FROM tokens_apitoken t WHERE t.id = u.token_id) LIMIT %s",
                [most],
            )
            wanted.update(pk for (pk,) in cursor.fetchall())
        if wanted:
            delete_all(model._default_manager.filter(pk__in=wanted))
        number += len(wanted)
    return number


def _known_days(
    taken: dict[int, Uses], ids: Collection[int]
) -> dict[int, list[TokenDay]]:
    """Return the stored days of tokens, as far as they are to be written."""
    days = {day for pk in ids for day in taken[pk].days}
    found: dict[int, list[TokenDay]] = {pk: [] for pk in ids}
    for row in TokenDay.objects.filter(token__in=ids, day__in=days):
        found[row.token_id].append(row)
    return found


def _write_days(
    taken: dict[int, Uses],
    chosen: Iterable[int],
    known: dict[int, list[TokenDay]],
    now: float,
) -> None:
    rows = []
    for pk in chosen:
        counts = {row.day: row.count for row in known[pk]}
        last_at = _latest(taken[pk].at, known[pk])
        rows += [
            TokenDay(
                token_id=pk,
                day=day,
                count=counts.get(day, 0) + count,
                last_at=last_at,
                written_at=_moment(now),
            )
            for day, count in sorted(taken[pk].days.items())
        ]
    TokenDay.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["token", "day"],
        update_fields=["count", "last_at", "written_at"],
    )


def _write_pairs(taken: dict[int, Uses], tokens: Iterable[APIToken]) -> None:
    """Write networks and agents, and delete all but the latest ones."""
    wanted = {token.pk: token for token in tokens if taken[token.pk].pairs}
    stored: dict[int, list[TokenUse]] = {pk: [] for pk in wanted}
    for use in TokenUse.objects.filter(token__in=wanted):
        stored[use.token_id].append(use)
    rows: list[TokenUse] = []
    outdated: list[int] = []
    for pk in wanted:
        before = {(use.network, use.agent): use for use in stored[pk]}
        for pair, (first, last) in taken[pk].pairs.items():
            earlier = before.pop(pair, None)
            rows.append(
                TokenUse(
                    token_id=pk,
                    network=pair[0],
                    agent=pair[1],
                    first_at=_moment(first) if earlier is None else earlier.first_at,
                    last_at=max(
                        _moment(last),
                        _moment(last) if earlier is None else earlier.last_at,
                    ),
                )
            )
        networks = {use.network for use in stored[pk]}
        for (network, agent), _ in taken[pk].pairs.items():
            if networks and network not in networks:
                networks.add(network)
                notices.note_network(wanted[pk], network, agent)
        others = sorted(before.values(), key=lambda use: use.last_at, reverse=True)
        outdated += [use.pk for use in others[PAIRS - len(taken[pk].pairs) :]]
    TokenUse.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["token", "network", "agent"],
        update_fields=["last_at"],
    )
    if outdated:
        TokenUse.objects.filter(pk__in=outdated).delete()


def _write_operations(taken: dict[int, Uses], chosen: list[int]) -> None:
    # A purge locks outdated rows in the order of their ids, too.
    lock_all(TokenOperation.objects.filter(token__in=chosen))
    TokenOperation.objects.bulk_create(
        [
            TokenOperation(
                token_id=pk,
                operation=operation[:255],
                scope=scope,
                first_at=_moment(at),
                last_at=_moment(at),
            )
            for pk in chosen
            for (operation, scope), at in sorted(taken[pk].operations.items())
        ],
        update_conflicts=True,
        unique_fields=["token", "operation", "scope"],
        update_fields=["last_at"],
    )


def _write_last(
    taken: dict[int, Uses], chosen: Iterable[int], known: dict[int, list[TokenDay]]
) -> None:
    """Write the last address, agent and endpoint, unless others know later ones."""
    rows = [
        (uses.address, uses.agent, uses.endpoint, pk)
        for pk in chosen
        if _latest((uses := taken[pk]).at, known[pk]) == _moment(uses.at)
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE tokens_apitoken SET last_address = %s, last_agent = %s,"
                " last_endpoint = %s WHERE id = %s",
                rows,
            )


def _latest(at: float, days: Iterable[TokenDay]) -> datetime:
    """Return the time of the last use, of this process or of another one."""
    return max((_moment(at), *(row.last_at for row in days if row.last_at)))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@lru_cache(maxsize=8)
def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


@lru_cache(maxsize=1024)
def _cleaned(agent: str) -> str:
    """Return the name of a program in one line, without secrets."""
    plain = "".join(sign if sign.isprintable() else " " for sign in agent)
    return redact(" ".join(plain.split()), "[secret]")[:LONGEST_AGENT]
