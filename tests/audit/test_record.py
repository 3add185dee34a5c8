"""The audit log stores events, deletes none, and contains no secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.apps import apps
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.actions import (
    WITHHELD,
    announce_purge,
    delete_events,
    purge_events,
    record,
)
from audit.models import Actor, Event
from controller import retention
from tests.factories import BY

append_only = import_module("audit.migrations.0002_append_only")
pytestmark = pytest.mark.django_db


@pytest.fixture
def guarded(db: None) -> Iterator[None]:
    """Set the triggers, as on every hub; the tests' own database does without."""
    with connection.cursor():
        editor = connection.SchemaEditorClass(connection, atomic=False)
        append_only.guard(apps, editor)
    yield
    append_only.unguard(apps, connection.SchemaEditorClass(connection, atomic=False))


def test_shows_actor_action_and_address() -> None:
    by = Actor("user", "ada", token_id=7, address="192.0.2.1")

    record(by, "group.add_members", "group", "data301", names=["alan", "grace"])

    event = Event.objects.get()
    assert (event.actor_kind, event.actor_name) == ("user", "ada")
    assert (event.token_id, event.address) == (7, "192.0.2.1")
    assert str(event) == "ada group.add_members group data301"
    assert event.detail == {"names": ["alan", "grace"]}


def test_refuses_details_that_are_named_like_secrets() -> None:
    with pytest.raises(ValueError, match="keeps no secrets: password"):
        record(BY, "user.create", "user", "ada", password="x")

    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "pasted",
    [
        "hub_0123456789ab_" + "x" * 43 + "0123456789ab" + "000000",
        "0123456789abcdef" * 4,
        "$argon2id$v=19$m=1024,t=1,p=1$c2FsdA$aGFzaA",
        "sha512:1:00:ff",
    ],
)
def test_withholds_what_looks_like_a_secret(pasted: str) -> None:
    event = record(BY, "token.issue", "token", "a1", note=f"mine: {pasted} !")

    event.refresh_from_db()
    assert pasted not in str(event.detail)
    assert event.detail["note"].startswith(f"mine: {WITHHELD}")


@pytest.mark.parametrize("pasted", ["sha512:1:ab", "argon2id$x", "$argon2id$v=19"])
def test_keeps_the_rest_of_an_act_where_a_secret_is_withheld(pasted: str) -> None:
    event = record(
        BY, "group.set_properties", "group", "g", keys=[pasted, "b"], to={pasted: 1}
    )

    event.refresh_from_db()
    assert event.detail == {"keys": [WITHHELD, "b"], "to": {WITHHELD: 1}}


@pytest.mark.parametrize("change", ["update", "delete"])
def test_database_refuses_to_change_the_past(guarded: None, change: str) -> None:
    event = record(BY, "user.create", "user", "ada")
    rows = Event.objects.filter(pk=event.pk)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        rows.update(action="user.delete") if change == "update" else rows.delete()

    assert rows.get().action == "user.create"


def test_purge_deletes_what_it_announces_and_no_more(guarded: None) -> None:
    now = datetime.now(UTC)
    old = record(BY, "user.create", "user", "old")
    new = record(BY, "user.create", "user", "new")
    append_only.unguard(apps, connection.SchemaEditorClass(connection, atomic=False))
    Event.objects.filter(pk=old.pk).update(at=now - timedelta(days=400))
    append_only.guard(apps, connection.SchemaEditorClass(connection, atomic=False))

    assert purge_events(now - timedelta(days=365), by=BY) == 1

    assert [event.action for event in Event.objects.all()] == [
        "audit.purge",
        "user.create",
    ]
    with pytest.raises(DatabaseError), transaction.atomic():
        Event.objects.filter(pk=new.pk).delete()


# What is large, and what is old


def test_a_row_names_a_limited_number_of_things() -> None:
    names = [f"user-{n}" for n in range(2_500)]

    record(BY, "user.create", "user", "", names=names, admin=False)

    events = list(Event.objects.order_by("pk"))
    assert [len(event.detail["names"]) for event in events] == [1_000, 1_000, 500]
    assert [name for event in events for name in event.detail["names"]] == names
    assert [event.detail["part"] for event in events] == [1, 2, 3]
    assert all(event.detail["admin"] is False for event in events)
    assert events[1].target.startswith("1000 users (part 2 of 3): user-1000,")


def test_two_long_lists_are_divided_together() -> None:
    users = [f"user-{n}" for n in range(1_500)]

    record(BY, "group.create", "group", "", names=["math", "art"], users=users)
    record(BY, "group.create", "group", "", names=users * 2, users=users)

    first, second = Event.objects.order_by("pk")[:2]
    assert first.detail["names"] == second.detail["names"] == ["math", "art"]
    assert first.detail["users"] + second.detail["users"] == users
    parts = [event.detail for event in Event.objects.order_by("pk")[2:]]
    assert [len(part.get("users", ())) for part in parts] == [1_000, 500, 0]


@pytest.fixture
def aged(db: None) -> Callable[[int, int], None]:
    """Return a function that records acts of so many days ago."""

    def age(number: int, days: int) -> None:
        at = datetime.now(UTC) - timedelta(days=days)
        Event.objects.bulk_create(
            Event(
                at=at,
                actor_kind="user",
                actor_name="ada",
                action="user.create",
                target_kind="user",
                target_name=f"old-{n}",
            )
            for n in range(number)
        )

    return age


def test_a_purge_is_done_in_batches(guarded: None, aged: Any) -> None:
    aged(25, days=400)
    aged(5, days=10)
    before = datetime.now(UTC) - timedelta(days=365)
    announce_purge(before, by=BY)

    assert [delete_events(before, 10) for _ in range(4)] == [10, 10, 5, 0]
    assert Event.objects.count() == 5


@pytest.mark.parametrize("words", [["--older-than", "365"], []])
def test_the_command_purges(guarded: None, aged: Any, words: list[str]) -> None:
    aged(3, days=400)
    aged(2, days=300)
    said = StringIO()

    call_command("purge_audit", *words, "--dry-run", stdout=said)
    assert Event.objects.count() == 5
    call_command("purge_audit", *words, stdout=said)

    assert "3 events are older than 365 days" in said.getvalue()
    assert "Deleted 3 events" in said.getvalue()
    assert Event.objects.filter(action="user.create").count() == 2
    assert Event.objects.get(action="audit.purge").detail["deleted"] == 3


def test_the_command_needs_a_number_of_days(settings: Any) -> None:
    settings.HUB = replace(settings.HUB, audit_retention_days=0)

    for words in ((), ("--older-than", "0")):
        with pytest.raises(CommandError, match="Say for how many days"):
            call_command("purge_audit", *words)


class Here:
    """A controller as far as it is needed: it asks the database at once."""

    async def ask(self, do: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        return await sync_to_async(do)(*args, **keywords)

    write = ask


def test_the_controller_purges(guarded: None, aged: Any, settings: Any) -> None:
    settings.HUB = replace(settings.HUB, audit_retention_days=365)
    aged(3, days=400)
    aged(1, days=365)
    tidy = async_to_sync(retention.tidy)

    tidy(Here(), timezone.now())
    tidy(Here(), timezone.now())

    assert Event.objects.filter(action="user.create").count() == 0
    assert Event.objects.get(action="audit.purge").detail["deleted"] == 4


def test_nothing_is_purged_without_a_limit(
    guarded: None, aged: Any, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, audit_retention_days=0)
    aged(3, days=4_000)

    async_to_sync(retention.tidy)(Here(), timezone.now())

    assert Event.objects.count() == 3


def test_expired_entries_of_the_cache_are_removed(db: None) -> None:
    cache.set("over", 1, timeout=1)
    cache.set("counts", 1, timeout=600)

    removed = retention.delete_expired_entries(timezone.now() + timedelta(seconds=60))

    assert removed == 1
    assert cache.get("counts") == 1
