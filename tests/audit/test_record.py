"""The record takes acts in, lets none go, and keeps no secret."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction

from audit.actions import WITHHELD, purge_events, record
from audit.models import Actor, Event
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


def test_tells_who_did_what_from_where() -> None:
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
