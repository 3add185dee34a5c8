"""Sealing of the audit log by several sessions of PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from audit.actions import record
from audit.chain import public_keys
from audit.models import Checkpoint, Event, Seal
from audit.sealing import allow_purge, seal_events
from audit.verification import verify_database
from database.locks import Advisory
from database.notifications import direct_address
from tests.database.sessions import Crowd, waits_for_a_lock
from tests.factories import BY

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = """
    INSERT INTO audit_event (at, actor_kind, actor_name, address, action, target_kind,
        target_name, detail)
    VALUES (now(), 'user', 'late', '', 'user.create', 'user', %s, '{}') RETURNING id
"""


def until_one_waits() -> None:
    end = time.monotonic() + 60
    while not waits_for_a_lock():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_event_that_is_committed_late_is_neither_lost_nor_out_of_order() -> None:
    with psycopg.connect(**direct_address()) as late:
        (late_id,) = late.execute(INSERT, ["late"]).fetchone() or (0,)
        others = [record(BY, "user.create", "user", f"{n}").pk for n in range(5)]
        assert late_id < min(others)
        assert seal_events().number == 5
        late.commit()

    # The controller's floor is what it sealed a minute ago.
    assert seal_events(floor=0).number == 1

    assert list(Seal.objects.values_list("event_id", flat=True)) == [*others, late_id]
    report = verify_database(public_keys())
    assert report.is_intact
    assert (report.events, report.late) == (6, 0)


def test_two_controllers_never_seal_the_same() -> None:
    for n in range(60):
        record(BY, "user.create", "user", f"{n}")

    def seal() -> int:
        number = 0
        while sealed := seal_events(most=3).number:
            number += sealed
        return number

    with Crowd(4) as crowd:
        numbers = [crowd.do(seal) for _ in range(4)]
        assert sum(each.result(60) for each in numbers) == 60

    assert Seal.objects.count() == Event.objects.count() == 60
    assert Checkpoint.objects.filter(kind="first").count() == 1
    assert verify_database(public_keys()).is_intact


@pytest.mark.parametrize("what", ["seal", "purge"])
def test_who_extends_the_chain_waits_for_the_other(what: str) -> None:
    event = record(BY, "user.create", "user", "ada")
    seal_events()
    acts: dict[str, Any] = {"seal": seal_events, "purge": lambda: allow_purge(event.at)}
    with psycopg.connect(**direct_address()) as other, Crowd(1) as crowd:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [int(Advisory.AUDIT_CHAIN)])
        waiting = crowd.do(acts[what])
        until_one_waits()
        other.commit()
        waiting.result(60)

    assert verify_database(public_keys()).is_intact


def test_no_event_waits_for_sealing() -> None:
    record(BY, "user.create", "user", "ada")
    with Crowd(1) as crowd, transaction.atomic():
        seal_events()
        # The transaction that seals is still open.
        crowd.do(record, BY, "user.create", "user", "alan").result(60)

    assert seal_events().number == 1
    connection.close()
