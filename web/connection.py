"""HTTP connection with limits on header size and header time.

uvicorn with httptools limits neither, and with h11 only the size. A client that sends a
header without end would fill the memory, and one that sends it slowly would keep the
connection for ever. This subclass uses callbacks of asyncio and httptools only.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seconds from a connection's or a header's begin to the header's end.
HEADER_SECONDS = 30.0
HEADER_BYTES = 64 * 1024


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection, which is closed if a header takes too long or too much."""

    header_size = 0
    is_in_header = True
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_in_header:
            self.header_size += len(data)
        super().data_received(data)
        # Usually the whole header arrives at once, and no timer is needed for it.
        if not self.is_in_header or self.transport.is_closing():
            return
        if self.timer is None:
            self.start_timer()
        if self.header_size > HEADER_BYTES:
            self.send_400_response("The request's header is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.is_in_header = True

    def on_headers_complete(self) -> None:
        self.is_in_header = False
        self.header_size = 0
        self.stop_timer()
        super().on_headers_complete()

    def start_timer(self) -> None:
        self.timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
