"""Limits on the numbers of servers, of active servers and of starts at a time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from django.conf import settings
from django.db.models import Count, Q

from accounts.callbacks import CallbackRequest
from accounts.models import User
from audit.models import Actor
from database.locks import Advisory, wait_for
from scopes.refusals import Busy, Invalid
from servers.models import ACTIVE, Server
from services.models import Service
from web.hooks import Hook
from web.outside import release_connection, waits_for_others

# Called with JupyterHub's word for the reason each time that a limit refuses a start.
start_refused = Hook[[str], None]()

NO_ROOM = "Active user limit exceeded. Try again in a few minutes."
NO_ROOM_ON_PAGES = "The server limit is reached; try again later."


def lock_capacity() -> None:
    """Lock the number of servers that are active, until the transaction ends.

    Every start and stop takes this lock, so that a count stays true until the start
    that relies on the count is stored.
    """
    wait_for(Advisory.CAPACITIES)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The numbers of active and of starting servers."""

    active: int
    starting: int

    @classmethod
    def now(cls) -> Capacity:
        starting = Q(pending=Server.Pending.SPAWN)
        counts = Server.objects.filter(ACTIVE).aggregate(
            active=Count("pk", filter=Q(pending__isnull=False) | Q(ready=True)),
            starting=Count("pk", filter=starting),
        )
        return cls(**counts)

    def left(self, wanted: int) -> int:
        """Return how many of so many servers may start now."""
        hub = settings.HUB
        for limit, used in (
            (hub.concurrent_spawn_limit, self.starting),
            (hub.active_server_limit, self.active),
        ):
            if limit:
                wanted = min(wanted, limit - used)
        return max(wanted, 0)

    def require(self) -> None:
        """Raise `Busy` unless one more server may start."""
        hub = settings.HUB
        if 0 < hub.concurrent_spawn_limit <= self.starting:
            start_refused("throttled")
            seconds = int(random.uniform(*hub.spawn_throttle_retry_range))  # noqa: S311
            raise Busy(
                "Too many users trying to log in right now. "
                f"Try again in {approximate(seconds)}.",
                retry_after=seconds,
                on_pages="Too many servers are starting; "
                f"try again in {approximate(seconds)}.",
            )
        if 0 < hub.active_server_limit <= self.active:
            start_refused("too-many-users")
            raise Busy(NO_ROOM, on_pages=NO_ROOM_ON_PAGES)


def approximate(seconds: int) -> str:
    """Return a duration in words: tens of seconds, later minutes."""
    if seconds <= 90:
        return f"{math.ceil(seconds / 10)}0 seconds"
    return f"{round(seconds / 60)} minutes"


def callback_request(by: Actor) -> CallbackRequest:
    """Return the argument of an operator's function for the limit of named servers."""
    if by.kind == "user" and (user := User.objects.filter(name=by.name).first()):
        return CallbackRequest.of(user)
    admin = False
    if by.kind == "service":
        admin = Service.objects.filter(name=by.name, admin=True).exists()
    return CallbackRequest.of_principal(by.kind, by.name, admin=admin)


def limit_of_names(by: Actor) -> int:
    """Return how many named servers each user may have, in a request of this actor.

    A function of the configuration may compute the limit and take long, so call this
    outside of a transaction, before any lock.
    """
    limit = settings.HUB.named_server_limit_per_user
    if callable(limit):
        asking = callback_request(by)
        release_connection()
        limit = limit(asking)
        if isawaitable(limit):
            limit = asyncio.run(_result(limit))
    return int(limit)


async def _result(awaitable: Awaitable[int]) -> int:
    return await awaitable


def asks_for_limit(view: Callable[..., Any], *methods: str) -> Callable[..., Any]:
    """Mark a view that calls the operator's function for the limit, if there is one."""
    if not callable(settings.HUB.named_server_limit_per_user):
        return view
    return waits_for_others(view, *methods)


def require_room_for_name(user: User, limit: int) -> None:
    """Raise `Invalid` unless a user may have one more named server.

    `limit` is the result of `limit_of_names` from before the user was locked. Without a
    limit the general maximum applies, because all servers of a user are in one
    response.
    """
    limits = (limit, settings.HUB.server_limit_per_user)
    limit = min((each for each in limits if each > 0), default=0)
    named = Server.objects.filter(user=user).exclude(name="")
    if 0 < limit <= named.count():
        raise Invalid(
            f"User {user.name} already has the maximum of {limit} named servers.  "
            "One must be deleted before a new server can be created"
        )
