"""The import of a JupyterHub database: its order, its transactions and its rules.

Rows come in the order of their dependence: roles, groups, people, services, servers,
clients, tokens, shares. Each batch is a transaction of its own, so that a running hub
goes on, and an interrupted import is completed by the next.

The rules:

* Nobody gets more than they had. What JupyterHub's own upgrade would add is left out.
* What is newer here is kept: a row that was imported before is not imported again,
  whether it was changed, withdrawn or deleted here since. New rows are added.
* The first import into a hub that knows some of the people already, by the
  configuration for instance, gives these people what they had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from accounts.naming import normalise_name
from audit.actions import record
from audit.models import Actor
from database.batches import give_way
from database.locks import Advisory, wait_for
from moving.jupyterhub_database import OldDatabase
from moving.models import ImportRun
from moving.report import Report
from scopes.refusals import Invalid

BY: Final = Actor.system("import")
# Called with the kind of rows and the number of them that were dealt with.
Advance = Callable[[str, int], object]


@dataclass(frozen=True, slots=True)
class Owner:
    """A person or service of the old database, here.

    `is_new` says that this import is the first to meet it.
    """

    pk: int
    name: str
    is_new: bool


@dataclass(slots=True)
class Import:
    """One import: the old database, and the ids here of its rows by their ids there."""

    old: OldDatabase
    report: Report
    advance: Advance
    now: datetime
    roles: dict[int, tuple[int, bool]] = field(default_factory=dict)
    # What a role gave to a token that had it, in 2.x.
    scopes_of_roles: dict[int, list[str]] = field(default_factory=dict)
    groups: dict[int, tuple[int, bool]] = field(default_factory=dict)
    users: dict[int, Owner] = field(default_factory=dict)
    services: dict[int, Owner] = field(default_factory=dict)
    # Servers by the ids of their rows in `spawners`.
    servers: dict[int, int] = field(default_factory=dict)
    # Clients whose tokens come along, by the old identifier, with the one here.
    clients: dict[str, str] = field(default_factory=dict)
    # Clients of servers that run here, with the servers' names.
    server_clients: dict[str, str] = field(default_factory=dict)
    # Servers that this import found running, by their ids here.
    running: dict[int, Running] = field(default_factory=dict)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Open the transaction of one batch; a second import waits."""
        with transaction.atomic():
            wait_for(Advisory.IMPORT)
            yield
        give_way()

    @property
    def blocked(self) -> set[str]:
        """The people who may hold nothing, whatever they had."""
        return {normalise_name(name) for name in settings.HUB.blocked_users}


@dataclass(slots=True)
class Running:
    """A server that runs: its owner, its client, and when it was started."""

    owner: Owner
    name: str
    base_url: str
    client_id: str
    started: datetime | None
    token: int | None = None
    token_created: datetime | None = None


class DryRun(Exception):
    """Ends the transaction of a dry run, which is undone."""


def total(old: OldDatabase) -> dict[str, int]:
    """Return the numbers of rows for a progress bar."""
    return {
        "users": old.count("users"),
        "tokens": old.count("api_tokens") + old.count("oauth_access_tokens"),
    }


def import_database(
    old: OldDatabase,
    steps: list[Callable[[Import], None]],
    *,
    advance: Advance = lambda _kind, _number: None,
    is_dry_run: bool = False,
) -> Report:
    """Import an open database by these steps; return what came and what did not.

    A dry run does the same in one transaction and undoes it.
    """
    work = Import(old, Report(), advance, timezone.now())
    try:
        if is_dry_run:
            with transaction.atomic():
                for step in steps:
                    _take(step, work)
                raise DryRun
        _run(work, steps)
    except DryRun:
        pass
    return work.report


def _take(step: Callable[[Import], None], work: Import) -> None:
    """Take one step; raise `Invalid` if the rows of the old database contradict.

    The batch of these rows is undone, and earlier ones stay. The error's own text may
    contain a digest.
    """
    try:
        step(work)
    except (IntegrityError, DataError):
        name = getattr(step, "__name__", "").removeprefix("import_")
        raise Invalid(
            f"The database {work.old.source} is damaged: it has rows that JupyterHub"
            f" never stores, such as two of one name (step: {name})."
        ) from None


def _run(work: Import, steps: list[Callable[[Import], None]]) -> None:
    source = {"source": work.old.source, "release": work.old.release}
    with transaction.atomic():
        run = ImportRun.objects.create(
            source=work.old.source[:1023], release=work.old.release[:64]
        )
        record(BY, "import.begin", "database", work.old.source[:511], **source)
    for step in steps:
        _take(step, work)
    with transaction.atomic():
        counts: dict[str, Any] = work.report.counts()
        ImportRun.objects.filter(pk=run.pk).update(
            finished_at=timezone.now(), counts=counts
        )
        record(
            BY,
            "import.finish",
            "database",
            work.old.source[:511],
            **source,
            counts=counts,
        )
