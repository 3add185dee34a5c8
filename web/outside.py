"""Requests that wait for others: a sign-on site, PAM, the proxy, an operator's code.

Whatever is outside of the hub may be slow or silent. Views that wait for others are
marked in their room's `urls.py`:

    path("login", waits_for_others(LoginView.as_view(), "POST"), name="account_login")

Such requests run in a pool of threads of their own, with a limit on their number and
time. So they can't take the threads that answer everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, TypeVar

from django.db import connection
from django.urls import Resolver404

from web.bodies import RefusedError
from web.environ import Environ, path_of
from web.paths import find_view

T = TypeVar("T")

THREADS = 16
# Requests that wait for a thread; more are refused at once.
QUEUE = 200
# Seconds from a request's arrival until it is refused, and until it may have ended.
PATIENCE = 60.0

MARK = "waits_for_others"


def waits_for_others(
    view: Callable[..., Any], *methods: str, unless_by_token: bool = False
) -> Callable[..., Any]:
    """Mark a view whose requests of these methods wait for others.

    With `unless_by_token` those that bring a token do not.
    """

    @wraps(view)
    def marked(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    setattr(marked, MARK, (frozenset(methods), unless_by_token))
    return marked


def may_wait(environ: Environ) -> bool:
    """Tell whether a request goes to a view that is marked."""
    try:
        view = find_view(path_of(environ)).func
    except Resolver404:
        return False
    methods, unless_by_token = getattr(view, MARK, ((), False))
    return environ["REQUEST_METHOD"] in methods and not (
        unless_by_token and "HTTP_AUTHORIZATION" in environ
    )


class OutsidePool:
    """The threads of requests that wait for others."""

    def __init__(
        self, threads: int = THREADS, queue: int = QUEUE, patience: float = PATIENCE
    ) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="outside")
        self.most = threads + queue
        self.patience = patience
        self.count = 0

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Run a call in a thread; raise `RefusedError` if the pool is full or slow."""
        if self.count >= self.most:
            raise RefusedError(
                503, "Too many requests wait for other services; try again later."
            )
        self.count += 1
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.patience):
                return await loop.run_in_executor(self.pool, call, *args)
        except TimeoutError:
            raise RefusedError(
                503, "Another service took too long to answer; try again later."
            ) from None
        finally:
            self.count -= 1


def release_connection() -> None:
    """Close this thread's database connection before it waits for others.

    A transaction keeps it: nobody may wait for others inside of one, and tests do.
    """
    if not connection.in_atomic_block:
        connection.close()
