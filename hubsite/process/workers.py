"""The processes that answer requests: one, or several forked from a parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from django.db import connections
from django.urls import get_resolver

from controller.shutdown import die_with
from hubsite.process.loading import while_loading
from web.asgi import Application
from web.connection import LimitedConnection

# Seconds after which a computing thread is asked for the interpreter lock. With
# Python's 5 ms a bulk call would delay all other requests at each of its queries; see
# docs/decisions.md for the measurements.
SWITCH_INTERVAL = 0.0005

# Seconds for open streams and requests after SIGTERM.
KILL_TIMEOUT = 5

# Seconds that a connection may be idle. A proxy keeps connections longer than browsers
# do, and must not find them closed when it uses them.
IDLE_SECONDS = 75

# Seconds between two values of the Date header, which has a resolution of one second.
DATE_SECONDS = 1.0

logger = structlog.get_logger(__name__)


class Prefork:
    """The parent of several workers.

    Workers are forked from the parent and share its memory. A worker that ends is
    replaced; when the parent ends, however it ends, all workers end.
    """

    def __init__(self, work: Callable[[], None], count: int) -> None:
        self.work = work
        self.count = count
        self.children: set[int] = set()
        self.stopping = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        signal.signal(signal.SIGALRM, self.kill)
        for _ in range(self.count):
            self.fork()
        while self.children:
            pid, status = os.wait()
            self.children.discard(pid)
            if not self.stopping:
                logger.error("web worker ended and is replaced", pid=pid, status=status)
                # Workers that end at their start must not keep the machine busy.
                time.sleep(1)
            if not self.stopping:
                self.fork()

    def fork(self) -> None:
        parent = os.getpid()
        if pid := os.fork():
            self.children.add(pid)
            return
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        die_with(parent)
        self.work()
        sys.exit()

    def stop(self, *_: object) -> None:
        self.stopping = True
        self.send(signal.SIGTERM)
        signal.alarm(2 * KILL_TIMEOUT)

    def kill(self, *_: object) -> None:
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        for pid in tuple(self.children):
            # The worker may have ended and not have been collected yet.
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Server(uvicorn.Server):
    """uvicorn's server, which rests between requests and ends in time.

    The end does not wait for a thread that hangs in a request.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopped = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Renew the Date header each second until a signal arrives.

        uvicorn's own loop looks for a signal ten times a second, which was a fifth of
        the CPU time of an idle hub.
        """
        self.loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), DATE_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.stopped.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn cancels requests after half of the time, but Python waits for threads.
        signal.alarm(2 * KILL_TIMEOUT)
        await super().shutdown(sockets)


def load_hub() -> Application:
    """Import the hub after all settings are complete."""
    from hubsite.asgi import application

    return application


def serve(
    address: str = "127.0.0.1",
    port: int = 8081,
    workers: int = 1,
    load: Callable[[], Application] = load_hub,
    others: Iterable[socket.socket] = (),
) -> None:
    """Serve the hub until SIGTERM or SIGINT; Django is set up already.

    Requests to `others`, which are listening sockets, are answered as well. An address
    in use raises OSError.
    """
    listener = socket.create_server(
        (address, port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        backlog=2048,
    )
    # Accepted connections inherit the option. uvicorn writes head and body of a
    # response separately, and the body would wait for the client's delayed
    # acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listeners = [listener, *others]
    with while_loading():
        application = load()
        # All modules of workers are imported before the fork, so that their memory is
        # shared.
        len(get_resolver().url_patterns)
    # A connection must not be shared.
    connections.close_all()
    # Existing objects stay as long as the process. Without this a full collection would
    # visit all of them and delay every request for tens of milliseconds.
    gc.collect()
    gc.freeze()
    if workers == 1:
        work(application, listeners)
    else:
        Prefork(partial(work, application, listeners), workers).run()


def work(application: Application, listeners: list[socket.socket]) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    server = Server(
        uvicorn.Config(
            cast(Any, application),
            http=LimitedConnection,
            loop="auto",
            ws="none",
            interface="asgi3",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            log_level="warning",
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=KILL_TIMEOUT,
        )
    )
    # uvicorn sends itself again the signal that stopped it. Everything has stopped
    # then, and this process still has work to do at its exit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    server.run(listeners)
