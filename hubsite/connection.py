"""A client's connection, as uvicorn keeps it, with what makes it short and safe."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import (
    HttpToolsProtocol,
    RequestResponseCycle,
)

from hubsite.bridge import BODY, Answer

# Seconds for a client to send the head of a request, and for a connection without
# any. A proxy keeps connections longer than browsers do, and must not find them closed
# at the moment it uses them.
HEAD_TIMEOUT = 30
IDLE_TIMEOUT = 75
# Seconds between two looks for connections whose time is over.
SWEEP_INTERVAL = 2
HEAD_LIMIT = 64 * 1024

logger = structlog.get_logger(__name__)


class Connection(HttpToolsProtocol):
    """A client's connection; its client must come to the point in size and in time.

    A request is answered when all of it has been read. Only what is streamed or
    awaited becomes a task of uvicorn's.
    """

    app: Any
    head_size = 0
    in_head = False
    has_answered = False
    # When the loop closes it, unless its client does something before.
    deadline = math.inf
    # The request whose turn it is and whose body is still to come.
    unread: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not cycle.more_body or BODY.isdisjoint(
            [n for n, _ in cycle.scope["headers"]]
        ):
            self.answer(cycle, app)
            return
        length = dict(cycle.scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > app.body_limit:
            self.send(cycle, app.refuse_body())
            return
        self.unread = cycle
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.unread is self.cycle:
            # uvicorn waits here for an application that takes what there is.
            self.flow.resume_reading()
            if len(self.cycle.body) > self.app.body_limit:
                self.unread = None
                self.send(self.cycle, self.app.refuse_body())

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.unread is self.cycle:
            self.unread = None
            self.answer(self.cycle, self.app)

    def answer(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request that has been read."""
        # One inline for each piece of data that arrives: who sends many requests at
        # once must not have the loop for all of them.
        if self.has_answered or not app.is_short(cycle.scope):
            app.pool.submit(self.answer_in_pool, cycle, app)
            return
        self.has_answered = True
        try:
            answer = app.answer_here(cycle.scope, bytes(cycle.body))
        except Exception:
            logger.exception("uncaught while answering inline")
            self.transport.close()
        else:
            self.send(cycle, answer)

    def answer_in_pool(self, cycle: RequestResponseCycle, app: Any) -> None:
        try:
            answer = app.answer(cycle.scope, bytes(cycle.body))
        except Exception:
            logger.exception("uncaught while answering in the pool")
            self.loop.call_soon_threadsafe(self.transport.close)
        else:
            self.loop.call_soon_threadsafe(self.send, cycle, answer)

    def send(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """Send an answer, at once if there is all of it."""
        if answer.body is None:
            pool = self.app.pool

            async def deliver(scope: Any, receive: Any, send: Any) -> None:
                await answer.deliver(send, receive, pool)

            super()._start_asgi_task(cycle, deliver)  # type: ignore[arg-type]
            return
        headers = cycle.default_headers
        if not cycle.keep_alive:
            headers = [*headers, (b"connection", b"close")]
        if not self.transport.is_closing():
            self.transport.write(answer.in_full(headers))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # `asyncio.to_thread` shall lead into the pool, whose threads have connections.
        self.loop.set_default_executor(self.app.pool)
        self.deadline = self.loop.time() + HEAD_TIMEOUT
        if not self.app.is_sweeping:
            self.app.is_sweeping = True
            close_overdue(self.loop, self.connections)

    def data_received(self, data: bytes) -> None:
        self.has_answered = False
        super().data_received(data)
        if self.in_head:
            self.head_size += len(data)
            if self.head_size > HEAD_LIMIT:
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head = True
        self.head_size = 0
        self.deadline = self.loop.time() + HEAD_TIMEOUT

    def on_headers_complete(self) -> None:
        self.in_head = False
        self.deadline = math.inf
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.deadline = self.loop.time() + IDLE_TIMEOUT


def close_overdue(loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
    """Close the connections whose time is over, again and again.

    uvicorn has a timer for each request in its place, which costs as much as a query.
    """
    now = loop.time()
    for each in tuple(connections):
        if each.deadline < now:
            each.timeout_keep_alive_handler()
    loop.call_later(SWEEP_INTERVAL, close_overdue, loop, connections)
