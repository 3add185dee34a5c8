"""Django's PostgreSQL, without connections that the server has ended.

Django looks for such connections when a request begins. Here many things that use the
database are no request of Django's: calls of the API, answers that are finished on the
event loop, background threads, the controller. So each connection is looked at where
it is used, before a statement or a transaction begins.
"""

from __future__ import annotations

import select
import time
from typing import Any

from django.db.backends.postgresql import base

# Seconds without use after which a connection is asked whether it works: what stands
# between may have dropped it without a word.
TRUSTED = 30.0
# Reads after which a connection that still has something to say is given up.
LAST_WORDS = 5


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that is made anew if it has ended or is too old."""

    last_used = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        self.last_used = time.monotonic()
        return connection

    def close_if_health_check_failed(self) -> None:
        """Close the connection if it can't be used; the next use makes another.

        Nothing of a transaction is lost: within one, nothing is looked at.
        """
        now = time.monotonic()
        if self.connection is not None and not self.in_atomic_block:
            is_old = self.close_at is not None and now >= self.close_at
            was_idle = now - self.last_used > TRUSTED
            if (
                is_old
                or has_ended(self.connection)
                or (was_idle and not self.is_usable())
            ):
                self.close()
        self.last_used = now


def has_ended(connection: Any) -> bool:
    """Tell whether the server has closed a connection that waits for no answer.

    A server that ends a session says so at once: there is something to read. To look
    takes two microseconds, to ask the server takes fifty times as long.
    """
    if connection.closed:
        return True
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if not poller.poll(0):
        return False
    # Notices and changed settings are no end. After the last word of a session that
    # was ended there is the end itself to read.
    for _ in range(LAST_WORDS):
        try:
            connection.pgconn.consume_input()
        except connection.Error:
            return True
        if connection.closed:
            return True
        if not poller.poll(0):
            return False
    return True
