"""What the hosted class does for accounts: `add_user` and `delete_user`.

JupyterHub calls `add_user` for new accounts and, at each start, for all accounts. A
class prepares the system for them there, for example by accounts of the system. Of the
base class, `add_user` only admits people who have an account, which the host does for
all at once (`know_accounts`). So only a class with a method of its own is called.

At a start this may take minutes: 100,000 lookups in a directory, one after the other.
So the controller calls the method in the background, while people sign in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction

from accounts.actions import delete_users, pre_delete
from accounts.hosting import client
from accounts.hosting.description import description
from accounts.models import User
from audit.models import Actor
from database.batches import batches
from scopes.refusals import Invalid, Refusal, Unavailable

logger = structlog.get_logger(__name__)

# Accounts of one call, and seconds for it.
BATCH: Final = 200
# Accounts of one call at a start; a server may wait for the call that is under way.
STEP: Final = 20
PATIENCE: Final = 300.0
# Errors of a start that are logged one by one.
MOST_LOGGED: Final = 20


def overrides(method: str) -> bool:
    """Return whether the class is hosted and has a method of its own, by a call."""
    return settings.HUB.is_hosted and method in description().overrides


def prepare_accounts(names: list[str]) -> None:
    """Have the class prepare accounts that are about to be created.

    Raises `Invalid` for the first that the class refuses. Waits for the class.
    """
    if not names or not overrides("add_user"):
        return
    for some in batches(names, BATCH):
        users = [{"name": name} for name in some]
        failed = client.call("add_users", {"users": users})
        for name in some:
            if name in failed:
                raise Invalid(f"Failed to create user {name}: {failed[name]}")


def next_batch(after: int) -> list[tuple[int, dict[str, Any]]]:
    """Return ids and facts of the next accounts for `add_user` at a start."""
    rows = User.objects.filter(pk__gt=after).exclude(
        name__in=settings.HUB.blocked_users
    )
    return [
        (user.pk, {"name": user.name, "admin": user.admin})
        for user in rows.order_by("pk").only("name", "admin")[:STEP]
    ]


def delete_invalid(names: Iterable[str], *, by: Actor) -> None:
    """Delete accounts that the class refuses at a start (`delete_invalid_users`)."""
    for user in User.objects.filter(name__in=list(names)):
        try:
            delete_users(User.objects.filter(pk=user.pk), by=by)
        except Refusal as problem:
            logger.error("user is not deleted", user=user.name, why=problem.message)


# In the background

_waiting: SimpleQueue[tuple[str, list[dict[str, Any]]]] = SimpleQueue()
_worker: list[threading.Thread] = []
_lock = threading.Lock()


def forget_deleted(users: list[User], by: Actor) -> None:
    """Have the class forget users once their deletion is stored, in the background.

    A class that fails or waits does not prevent a deletion; its errors are logged.
    """
    facts = [{"name": user.name, "admin": user.admin} for user in users]
    _later("delete_user", facts)


def prepare_later(names: Iterable[str]) -> None:
    """Have the class prepare accounts that a page has just created."""
    _later("add_user", [{"name": name} for name in names])


def _later(method: str, facts: list[dict[str, Any]]) -> None:
    if settings.HUB.is_hosted:
        transaction.on_commit(lambda: _enqueue(method, facts))


def _enqueue(method: str, facts: list[dict[str, Any]]) -> None:
    for some in batches(facts, BATCH):
        _waiting.put((method, some))
    with _lock:
        if not _worker:
            thread = threading.Thread(target=_work, name="accounts", daemon=True)
            _worker.append(thread)
            thread.start()


def _work() -> None:
    while True:
        method, facts = _waiting.get()
        names = [user["name"] for user in facts]
        try:
            if not overrides(method):
                continue
            failed = client.call(f"{method}s", {"users": facts})
            for name, problem in failed.items():
                logger.error(f"{method} failed", user=name, problem=problem)
        except (Unavailable, client.ClassFailed) as problem:
            logger.error(f"{method} was not called", users=names, why=str(problem))
        except Exception:
            logger.exception(f"{method} was not called", users=names)


def connect() -> None:
    pre_delete.connect(forget_deleted)
