"""The requests that a token may make in a minute, in all web processes together.

A minute is one of the clock, so that a client can make twice the limit within two
minutes that meet. Each process counts requests in memory, and adds them to one row of
the database after a hundredth of the limit or after a second. So a limit below 200 is
exact, and a higher one is exceeded by at most one in a hundred for each process. A
token without a limit costs nothing here.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from django.db import DatabaseError, connection
from rest_framework.throttling import BaseThrottle

logger = logging.getLogger(__name__)

WINDOW: Final = 60
# Times the average rate that the fields may suggest for the rest of a minute.
BURST: Final = 10
# The part of a limit that a process counts by itself.
SHARE: Final = 100
# Seconds after which the count of a process is added to the common one.
INTERVAL: Final = 1.0
# Tokens that a process counts at a time.
MEMORY: Final = 10_000
# Added to by all processes at once; a row of an earlier minute begins anew.
ADD: Final = (
    "INSERT INTO tokens_tokenrate (token_id, minute, count) VALUES (%s, %s, %s)"
    " ON CONFLICT (token_id) DO UPDATE SET minute = excluded.minute, count ="
    " CASE WHEN tokens_tokenrate.minute = excluded.minute"
    " THEN tokens_tokenrate.count + excluded.count ELSE excluded.count END"
    " RETURNING count"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """What a token has used of its limit; `reset` is in seconds."""

    limit: int
    used: int
    reset: int

    @property
    def is_exceeded(self) -> bool:
        return self.used > self.limit

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-11, for the client."""
        remaining = max(0, self.limit - self.used)
        # At the end of a minute, a client would divide a whole limit by a second.
        most = max(1, self.limit * self.reset * BURST // WINDOW)
        remaining = min(remaining, most)
        return {
            "RateLimit-Policy": f'"token";q={self.limit};w={WINDOW}',
            "RateLimit": f'"token";r={remaining};t={self.reset}',
        }


@dataclass(slots=True)
class _Count:
    minute: int
    # Of all processes, as of the last addition, and of this process since.
    known: int = 0
    since: int = 0
    added_at: float = 0.0


_counts: dict[int, _Count] = {}
_lock = threading.Lock()


def count(token_id: int, limit: int, now: float | None = None) -> Rate:
    """Count one request of a token, and return what is left."""
    now = time.time() if now is None else now
    minute = int(now // WINDOW)
    reset = WINDOW - int(now % WINDOW)
    with _lock:
        counted = _counts.get(token_id)
        if counted is None or counted.minute != minute:
            _counts.pop(token_id, None)
            counted = _counts[token_id] = _Count(minute)
            if len(_counts) > MEMORY:
                _counts.pop(next(iter(_counts)))
        if counted.known > limit:
            # A flood of refused requests costs no statement.
            return Rate(limit, counted.known + 1, reset)
        counted.since += 1
        due = counted.since >= limit // SHARE or now - counted.added_at >= INTERVAL
        if not due:
            return Rate(limit, counted.known + counted.since, reset)
        added, counted.since = counted.since, 0
        counted.known += added
        counted.added_at = now
    total = _add(token_id, minute, added)
    with _lock:
        # Another thread may have added more meanwhile.
        counted.known = max(counted.known, total)
        return Rate(limit, max(total, counted.known) + counted.since, reset)


def forget() -> None:
    """Clear the counts of this process, as in a new one."""
    with _lock:
        _counts.clear()


def _add(token_id: int, minute: int, number: int) -> int:
    """Add to the common count and return it.

    While the database can't be written, each process counts by itself.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(ADD, [token_id, minute, number])
            (total,) = cursor.fetchone()
    except DatabaseError as problem:
        logger.warning("Requests of a%s are counted here only: %s", token_id, problem)
        return 0
    return int(total)


class TokenThrottle(BaseThrottle):
    """Refuses requests beyond the limit of their token; for DRF's views.

    A request is counted once, however often it is asked for. Its `rate` is for the
    headers of the response.
    """

    rate: Rate | None = None

    def allow_request(self, request: Any, view: Any) -> bool:
        bearer = request.auth
        if bearer is None or bearer.rate_limit is None:
            return True
        asked = request._request
        self.rate = getattr(asked, "rate", None)
        if self.rate is None:
            self.rate = asked.rate = count(bearer.token_id, bearer.rate_limit)
        return not self.rate.is_exceeded

    def wait(self) -> float | None:
        return None if self.rate is None else float(self.rate.reset)
