"""HTTP connection with limits on headers, on chunks and on requests in advance.

uvicorn with httptools limits none of them, and with h11 only the size of headers. A
client that sends a header without end would fill the memory, and one that sends it
slowly would keep the connection for ever. Bodies in chunks of a byte, and requests that
are sent without waiting for responses, are parsed without a pause, in which no other
request goes on. This subclass uses callbacks of asyncio and httptools only.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seconds from the start of a connection or header to the end of the header.
HEADER_SECONDS = 30.0
HEADER_BYTES = 64 * 1024
# Most chunks of a body, which are enough for the largest body in chunks of a kilobyte.
MOST_CHUNKS = 10_000
# Most requests in one piece of received data. Browsers and proxies send one at a time.
MOST_IN_ADVANCE = 50
# Seconds until the peer on a Unix socket must close its side after the hub's.
CLOSING_SECONDS = 5.0


class PatientTransport:
    """A connection through a Unix socket, closed for writing first.

    Node, and so the proxy, writes once more to a connection after its request. If the
    hub has closed a Unix socket by then, this write fails at once, and the proxy
    responds with 503 although it has a response. On TCP the write succeeds.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.is_ended = False

    def close(self) -> None:
        if self.is_ended or self.transport.is_closing():
            return
        self.is_ended = True
        # When the peer closes its side as well, asyncio closes the connection.
        self.transport.write_eof()
        self.loop.call_later(CLOSING_SECONDS, self.transport.close)

    def is_closing(self) -> bool:
        return self.is_ended or bool(self.transport.is_closing())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class TooManyError(Exception):
    """A body has too many chunks, or too many requests are sent in advance."""


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection, which is closed if a client exceeds a limit.

    An exception in a callback ends the parsing, and uvicorn responds with 400.
    """

    header_size = chunks = begun = 0
    is_in_header = True
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            transport = PatientTransport(transport, self.loop)
        super().connection_made(transport)
        self.start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.is_in_header:
            self.header_size += len(data)
        self.begun = 0
        super().data_received(data)
        # Usually the whole header arrives at once and needs no timer.
        if not self.is_in_header or self.transport.is_closing():
            return
        if self.timer is None:
            self.start_timer()
        if self.header_size > HEADER_BYTES:
            self.send_400_response("The request's header is too large.")

    def on_message_begin(self) -> None:
        self.begun += 1
        if self.begun > MOST_IN_ADVANCE:
            raise TooManyError
        super().on_message_begin()
        self.is_in_header = True
        self.chunks = 0

    def on_chunk_header(self) -> None:
        self.chunks += 1
        if self.chunks > MOST_CHUNKS:
            raise TooManyError

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
