"""Detect that a server answers, without delay.

JupyterHub's own function waits longer after each try, so it may notice a server that
is up seconds late, and a server that has ended only at the time limit.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

from database.backoff import Backoff

# Seconds between two tries; the first ones come sooner.
FIRST_INTERVAL, INTERVAL = 0.03, 0.1
# Seconds that one try may take, because the first response of a server may be slow.
PATIENCE = 10.0
# Seconds between two polls of the process. The cost of a poll depends on the spawner:
# some send a request to another machine.
FIRST_POLL, LONGEST_POLL = 0.15, 3.0


class NotReady(Exception):
    """The server does not answer: it has ended with `status`, or time is up."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__(status)
        self.status = status


async def until_ready(
    url: str,
    seconds: float,
    poll: Callable[[], Awaitable[int | None]],
    *,
    is_local: bool = False,
) -> None:
    """Return once the server at `url` answers; raises `NotReady` if it will not.

    A local server that could not get its port ends, while another program answers at
    that port. So the result of `poll` decides where polling is cheap.
    """
    answering = asyncio.ensure_future(_until_answer(f"{url.rstrip('/')}/api"))
    watching = asyncio.ensure_future(_until_ended(poll))
    try:
        done, _ = await asyncio.wait(
            {answering, watching}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if answering in done:
            status = await poll() if is_local else None
            if status is None:
                return
            raise NotReady(status)
        raise NotReady(watching.result() if watching in done else None)
    finally:
        for task in (answering, watching):
            task.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


async def _until_answer(url: str) -> None:
    backoff = Backoff(FIRST_INTERVAL, INTERVAL, factor=1.5)
    while True:
        began = time.monotonic()
        with suppress(OSError, ValueError, EOFError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                if await status_of(url) < 500:
                    return
        await asyncio.sleep(max(0.0, backoff.pause - (time.monotonic() - began)))
        backoff.grow()


async def _until_ended(poll: Callable[[], Awaitable[int | None]]) -> int:
    backoff = Backoff(FIRST_POLL, LONGEST_POLL, factor=1.5)
    while True:
        await backoff.sleep()
        # An error of `poll` may be temporary, and the time is limited anyway.
        with suppress(Exception):
            status = await poll()
            if status is not None:
                return status


async def status_of(url: str) -> int:
    """Return the status of a server's response to a GET request.

    Raises OSError if the connection fails, and ValueError if the response is not HTTP.
    """
    parts = urlsplit(url)
    secure = None
    if parts.scheme == "https":
        # The certificate is not checked, because the hub started the server itself.
        secure = ssl.create_default_context()
        secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
    try:
        writer.write(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Accept: application/json\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        line = (await reader.readline()).decode("latin-1")
    finally:
        writer.close()
    version, _, rest = line.partition(" ")
    if not version.startswith("HTTP/"):
        raise ValueError("no HTTP")
    return int(rest[:3])
