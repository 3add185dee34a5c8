"""Calls to a hosted authenticator at a start: its roles, and `add_user` for all.

Both are repeated when the process of the class was started again, because a new
instance of the class has no data of the earlier calls.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.conf import settings
from django.utils import timezone

from accounts.hosting import account_hooks, client, refresh
from accounts.hosting.description import Description, description, read_description
from accounts.managed_roles import load_managed_roles, read_roles
from accounts.models import User
from audit.models import Actor
from controller.spawners.failures import SpawnFailed
from controller.spawners.spawn_context import SpawnContext
from scopes.refusals import Refusal, Unavailable

if TYPE_CHECKING:
    from controller.term import Term

log = structlog.get_logger("hub.controller")

BY: Final = Actor.system("authenticator")
# Seconds between two checks whether the process was started again.
INTERVAL: Final = 10.0
# Seconds between two tries while the process does not respond.
PAUSE: Final = 2.0
# A page or call has refreshed the owner before it asked for the start.
JUST_NOW: Final = timedelta(seconds=30)


async def run(term: Term) -> None:
    """Make the calls for a start after each start of the process of the class."""
    if not settings.HUB.is_hosted:
        return
    known = ""
    while True:
        try:
            facts = await asyncio.to_thread(read_description)
            if facts.process != known:
                await start(term, facts)
                known = facts.process
        except (Unavailable, client.ClassFailed):
            # The client has logged it.
            await asyncio.sleep(PAUSE)
            continue
        await asyncio.sleep(INTERVAL)


async def refresh_owner(term: Term, context: SpawnContext) -> SpawnContext:
    """Refresh the owner of a server before a start, if the class is configured so.

    Returns the context with the owner's groups after the refresh. A person who has to
    sign in again can't be asked here, so a stale owner prevents a start only with
    `auth_refresh_strict`. Pages and the API refuse starts of one's own server before.
    """
    if not settings.HUB.is_hosted:
        return context
    try:
        facts = await asyncio.to_thread(description)
        if not (facts.refresh_pre_spawn and refresh.refreshes(facts)):
            return context
        owner = await term.ask(stale_owner, context.user_id)
        if owner is None:
            return context
        user, asked = owner
        found = await asyncio.to_thread(refresh.ask, user, asked)
    except (Unavailable, client.ClassFailed):
        return context
    if found is None:
        return context
    if await term.ask(refresh.settle, user, found, facts):
        fresh = await term.ask(term.records.context_of, user.name, context.name)
        if fresh is None:
            return context
        return replace(context, admin=fresh.admin, groups=fresh.groups)
    if facts.auth_refresh_strict:
        raise SpawnFailed(
            f"{user.name}'s authentication has expired: sign in again.", 403
        )
    return context


def stale_owner(user_id: int) -> tuple[User, dict[str, Any]] | None:
    """Return a user with the facts for a refresh; None if one has just been made."""
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        return None
    last = user.auth_refreshed_at
    if last is not None and timezone.now() - last < JUST_NOW:
        return None
    return user, {"user": refresh.secret_facts_of(user)}


async def start(term: Term, facts: Description) -> None:
    if facts.manage_roles:
        await load_roles(term, facts)
    if "add_user" in facts.overrides or facts.delete_invalid_users:
        await add_users(term, facts)


async def load_roles(term: Term, facts: Description) -> None:
    """Load the roles of the class; what is wrong with them is logged."""
    try:
        found = await asyncio.to_thread(client.call, "load_managed_roles")
        roles = read_roles(found)
        reset = facts.reset_managed_roles_on_startup
        await term.ask(load_managed_roles, roles, reset=reset, by=BY)
    except client.ClassFailed:
        log.error("load_managed_roles failed, so the class's roles stay as they are")
    except Refusal as problem:
        log.error("load_managed_roles returned wrong roles", problem=problem.message)


async def add_users(term: Term, facts: Description) -> None:
    """Have the class prepare all accounts, in their order."""
    preparation = term.preparation
    last, number, failures = 0, 0, 0
    while batch := await term.ask(account_hooks.next_batch, last):
        async with preparation.lock:
            # The class must not prepare an account twice at the same time.
            users = [user for key, user in batch if key not in preparation.early]
            failed = await call_add_users(users) if users else {}
            last, number = batch[-1][0], number + len(batch)
            preparation.reached = max(preparation.reached, last)
        for name, problem in failed.items():
            failures += 1
            if failures <= account_hooks.MOST_LOGGED:
                log.warning("add_user failed", user=name, problem=problem)
        if failed and facts.delete_invalid_users:
            await term.ask(account_hooks.delete_invalid, [*failed], by=BY)
    preparation.is_done = True
    preparation.early.clear()
    log.info("add_user was called for all users", number=number, failed=failures)


async def call_add_users(users: list[dict[str, Any]]) -> dict[str, str]:
    """Return what went wrong, by the names of users."""
    failed: dict[str, str] = await asyncio.to_thread(
        client.call, "add_users", {"users": users}, patience=account_hooks.PATIENCE
    )
    return failed


async def prepare_owner(term: Term, context: SpawnContext) -> None:
    """Have the class prepare the owner of a server that starts before their turn.

    JupyterHub calls `add_user` for everybody before the first request, so a spawner may
    rely on what the class prepares, an account of the system for example. A failure
    prevents no start, as in JupyterHub.
    """
    preparation = term.preparation
    if not settings.HUB.is_hosted or preparation.has(context.user_id):
        return
    try:
        facts = await asyncio.to_thread(description)
        if "add_user" not in facts.overrides:
            return
        async with preparation.lock:
            if preparation.has(context.user_id):
                return
            user = {"name": context.user_name, "admin": context.admin}
            failed = await call_add_users([user])
            preparation.early.add(context.user_id)
    except (Unavailable, client.ClassFailed):
        # The client has logged it.
        return
    for name, problem in failed.items():
        log.warning("add_user failed", user=name, problem=problem)
