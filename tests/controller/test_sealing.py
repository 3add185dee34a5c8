"""The leading controller seals the audit log, and looks again at late events."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from audit.actions import record
from audit.models import Checkpoint, Event, Seal
from audit.sealing import seal_events
from controller import sealing
from controller.background_tasks import TASK_GROUP
from controller.sealing import SETTLED, SWEEP, Sealer, Window
from tests.factories import BY

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
