"""Compare the proxy's routes with those in the database, and repair them.

Starts and stops change single routes (`controller.proxy.routes`). This module repairs
the routes of a restarted proxy, and changes that did not reach the proxy.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError

from controller.proxy.client import ProxyError
from controller.proxy.routes import check_routes, in_thread, proxy
from database.backoff import Backoff

if TYPE_CHECKING:
    from controller.term import Term

logger = logging.getLogger(__name__)

# Seconds between two checks. A check without repairs is one query and one request.
INTERVAL = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
# The supervisor sends this signal after it has restarted the proxy.
CHECK_ROUTES = signal.SIGUSR2


async def run(term: Term) -> None:
    """Check routes at once, at an interval, and when the proxy was restarted."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(CHECK_ROUTES, asked.set)
    backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    failing = False
    try:
        while True:
            asked.clear()
            problem = await _check()
            if problem and not failing:
                logger.warning("The proxy's routes can't be checked: %s", problem)
            elif failing and not problem:
                logger.info("The proxy has its routes again")
            failing = bool(problem)
            if not failing:
                backoff.reset()
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.pause if failing else _interval()):
                    await asked.wait()
            if failing:
                backoff.grow()
    finally:
        loop.remove_signal_handler(CHECK_ROUTES)
        # Without a handler the signal would end the process.
        signal.signal(CHECK_ROUTES, signal.SIG_IGN)


async def _check() -> str:
    """Check the routes; return the error, or ""."""
    try:
        await in_thread(lambda: check_routes(proxy()))
    except (ProxyError, DatabaseError) as error:
        return str(error).partition("\n")[0]
    return ""


def _interval() -> float:
    return min(INTERVAL, settings.HUB.last_activity_interval or INTERVAL)
