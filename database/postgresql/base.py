"""Django's PostgreSQL back end, without connections that the server has closed.

Django checks connections when a request begins. Here many users of the database are no
request of Django's: calls of the API, deferred responses, background threads, the
controller. So each connection is checked before its use, when a statement or a
transaction begins.
"""

from __future__ import annotations

import select
import time
from typing import Any

from django.db.backends.postgresql import base

# Seconds without use after which a connection is tested with a query, because a
# firewall or pool may have dropped the connection without notice.
TRUSTED = 30.0
# Reads after which a connection that still has data to read is closed.
LAST_WORDS = 5


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that is reopened if it has ended or is too old."""

    last_used = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        self.last_used = time.monotonic()
        return connection

    def close_if_health_check_failed(self) -> None:
        """Close the connection if it can't be used; the next use opens another.

        No transaction is lost, because connections are not checked within one.
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
    """Return whether the server has closed an idle connection.

    A server that ends a session sends data at once. Checking for data takes two
    microseconds, a query takes fifty times as long.
    """
    if connection.closed:
        return True
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if not poller.poll(0):
        return False
    # Notices and changed settings do not end a session. After the last message of an
    # ended session, the end of the stream can be read.
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
