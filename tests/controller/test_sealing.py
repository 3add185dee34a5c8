"""The leading controller seals the audit log, and looks again at late events."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from audit.actions import record
from audit.chain import public_keys
from audit.models import Checkpoint, Event, Seal
from audit.sealing import seal_events
from audit.verification import verify_database
from controller import retention, sealing
from controller.background_tasks import TASK_GROUP
from controller.sealing import SETTLED, SWEEP, Sealer, Window
from tests.factories import BY
from web.redaction import SECRET

pytestmark = pytest.mark.django_db


class Here:
    """A term as far as it is needed: it asks the database at once."""

    async def ask(self, do: Any, *args: Any, **keywords: Any) -> Any:
        return await sync_to_async(do)(*args, **keywords)

    write = ask


@pytest.fixture
def sealer(monkeypatch: pytest.MonkeyPatch) -> Sealer:
    monkeypatch.setattr(sealing, "PAUSE", 0)
    term: Any = Here()
    return Sealer(term)


def seal(sealer: Sealer) -> int:
    return async_to_sync(sealer.seal_new)()


def add(number: int) -> None:
    for n in range(number):
        record(BY, "user.create", "user", f"user-{n}")


def test_the_purge_of_the_controller_leaves_an_intact_chain(
    sealer: Sealer, settings: Any
) -> None:
    settings.HUB = replace(settings.HUB, audit_retention_days=365)
    now = timezone.now()
    for days in (400, 390, 3):
        Event.objects.create(
            **{"at": now - timedelta(days=days), "actor_kind": "user"},
            **{"actor_name": "ada", "action": "user.create"},
            **{"target_kind": "user", "target_name": f"{days}"},
        )
        seal(sealer)
        # As if an hour had passed, so that the next checkpoint is another row.
        Checkpoint.objects.create(
            **{
                field.name: getattr(Checkpoint.objects.ends()[0], field.name)
                for field in Checkpoint._meta.fields
                if not field.primary_key
            }
        )

    async_to_sync(retention.tidy)(sealer.term, now)
    seal(sealer)

    report = verify_database(public_keys())
    assert report.is_intact
    assert report.start is not None
    assert (report.start.kind, report.start.sequence) == ("purge", 2)
    # The event that stays, and that of the purge.
    assert (report.events, report.purged) == (2, 0)


def test_the_log_has_hashes_that_are_not_removed_as_secrets(
    sealer: Sealer, caplog: pytest.LogCaptureFixture
) -> None:
    add(1)

    with caplog.at_level(logging.INFO, "controller.sealing"):
        seal(sealer)

    digest = bytes(Checkpoint.objects.ends()[0].digest).hex()
    assert f"up to sequence 1 with the hash {digest[:32]}…" in caplog.text
    assert not SECRET.search(caplog.text)


def test_is_a_task_of_the_leader() -> None:
    assert sealing.run in TASK_GROUP


def test_seals_in_batches_until_nothing_is_left(
    sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "seal_events", lambda floor: seal_events(floor, 2))
    add(5)

    assert seal(sealer) == 5
    assert seal(sealer) == 0
    assert Seal.objects.count() == 5
    add(1)
    assert seal(sealer) == 1


def test_looks_again_at_the_ids_of_the_last_minute_and_at_all_each_hour() -> None:
    window = Window(now=0.0)
    window.note(10, now=0.0)
    assert window.floor(now=SETTLED - 1) == 0
    window.note(20, now=SETTLED - 1)
    assert window.floor(now=SETTLED) == 10
    assert window.floor(now=2 * SETTLED) == 20
    assert window.floor(now=SWEEP) == 0
    assert window.floor(now=SWEEP + 1) == 20


def test_an_event_below_the_floor_is_sealed_by_the_sweep(sealer: Sealer) -> None:
    add(3)
    seal(sealer)
    Seal.objects.filter(event=Event.objects.earliest("pk")).delete()
    sealer.window.settled = Event.objects.latest("pk").pk
    assert seal(sealer) == 0

    sealer.window.swept -= SWEEP

    assert seal(sealer) == 1


def test_reports_a_chain_that_was_cut_back(
    sealer: Sealer, caplog: pytest.LogCaptureFixture
) -> None:
    add(1)
    seal(sealer)
    first = Checkpoint.objects.ends().first()
    assert first is not None
    add(2)
    seal(sealer)
    Seal.objects.filter(sequence__gt=1).delete()
    Event.objects.filter(pk__gt=Seal.objects.latest("sequence").event_id).delete()
    Checkpoint.objects.filter(sequence=3).delete()
    first.pk = None
    first.save()
    add(1)

    with caplog.at_level(logging.ERROR):
        seal(sealer)

    assert "was changed by another program" in caplog.text


def test_reports_a_forged_checkpoint_once_and_goes_on_with_the_term(
    sealer: Sealer, caplog: pytest.LogCaptureFixture
) -> None:
    add(1)
    seal(sealer)
    Checkpoint.objects.filter(kind="seal").update(signature="00" * 64)
    add(1)

    with caplog.at_level(logging.ERROR):
        assert seal(sealer) == 0
        assert seal(sealer) == 0

    assert caplog.text.count("is not sealed") == 1
