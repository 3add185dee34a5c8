"""The hash chain finds every change of the audit log, and says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.utils import timezone

from audit import sealing
from audit.actions import purge_events
from audit.chain import (
    BEGINNING,
    Statement,
    content_of,
    link,
    moment,
    public_keys,
    sign,
)
from audit.models import Checkpoint, Event, Seal
from audit.sealing import ChainChanged, begin_anew, seal_events, state
from audit.verification import Report, sealed_rows, verify_database
from controller.leadership import Lost
from controller.records import Records, take_over
from tests.factories import BY

pytestmark = pytest.mark.django_db

# The tests make one chain of these, in batches with a checkpoint each.
EVENTS, STEP = 30, 10


def add_events(number: int, at: datetime | None = None) -> list[Event]:
    return Event.objects.bulk_create(
        Event(
            at=at or timezone.now(),
            actor_kind="user",
            actor_name="ada",
            token_id=None if n % 2 else n,
            address="192.0.2.1",
            action="user.create",
            target_kind="user",
            target_name=f"Ü-{n}",
            detail={"names": [f"name-{n}", "é"], "number": n, "half": n / 2, "b": {}},
        )
        for n in range(number)
    )


def seal_all(most: int = 1_000, **options: Any) -> int:
    number = 0
    while sealed := seal_events(most=most, **options).number:
        number += sealed
    return number


def verified() -> Report:
    return verify_database(public_keys())


def found(report: Report) -> list[tuple[str, int]]:
    return [(finding.kind, finding.sequence) for finding in report.findings]


@pytest.fixture
def chain(db: None, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Return thirty sealed events, with a checkpoint after each ten."""
    monkeypatch.setattr(sealing, "CHECKPOINT_EVENTS", STEP)
    seal_events()
    events = add_events(EVENTS)
    assert seal_all(STEP) == EVENTS
    return events


def forge(*sequences: int) -> None:
    """Compute hashes anew, as somebody with the database but no key can."""
    for n in sequences:
        seal = Seal.objects.get(pk=n)
        before = Seal.objects.filter(pk=n - 1).first()
        previous = bytes(before.digest) if before else BEGINNING
        ((_, values),) = [
            (row, values) for row, values in sealed_rows(n - 1, n) if values is not None
        ]
        at = values[0]
        content = content_of(values)
        digest = link(previous, n, seal.event_id, at, content)
        Seal.objects.filter(pk=n).update(at=at, content=content, digest=digest)


# An intact chain


def test_seals_every_event_in_order(chain: list[Event]) -> None:
    report = verified()

    assert report.is_intact
    assert (report.events, report.first, report.last) == (EVENTS, 1, EVENTS)
    assert list(Seal.objects.values_list("event_id", flat=True)) == [
        event.pk for event in chain
    ]
    assert report.waiting.number == 0
    assert report.late == 0


def test_hashes_are_those_that_the_guide_describes(chain: list[Event]) -> None:
    """Other programs may verify an export, so the format must not change."""
    event = Event.objects.get(pk=chain[1].pk)
    seals = Seal.objects.order_by("sequence")
    at = event.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    text = (
        f'["{at}","user","ada",null,"192.0.2.1","user.create","user","\\u00dc-1",'
        '{"b":{},"half":0.5,"names":["name-1","\\u00e9"],"number":1}]'
    )
    content = sha256(text.encode()).hexdigest()
    digest = sha256(
        f"{bytes(seals[0].digest).hex()}\n2\n{event.pk}\n{at}\n{content}".encode()
    )
    assert bytes(seals[1].content).hex() == content
    assert bytes(seals[1].digest) == digest.digest()


def test_counts_events_without_a_seal(chain: list[Event]) -> None:
    oldest = timezone.now() - timedelta(minutes=3)
    add_events(2)
    add_events(1, at=oldest)

    report = verified()

    assert report.is_intact
    assert report.waiting.number == 3
    assert report.waiting.oldest == moment(oldest)
    assert (state().unsealed, state().oldest, state().sealed) == (3, oldest, EVENTS)


def test_seals_the_events_of_an_older_version_as_they_are() -> None:
    add_events(5)
    seal_all()

    first = Checkpoint.objects.get(kind="first")
    assert first.detail == {"existing": 5, "up_to_id": Event.objects.latest("pk").pk}
    report = verified()
    assert report.is_intact
    assert report.events == 5
    assert "5 events were there before" in run("verify")


def test_keeps_few_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    monkeypatch.setattr(sealing, "CHECKPOINT_EVENTS", 10)
    for minutes in range(0, 150, 3):
        add_events(1)
        seal_events(now=now + timedelta(minutes=minutes))

    # After the first, one for each ten events or each hour.
    assert Checkpoint.objects.count() in range(5, 9)
    assert verified().is_intact


def test_verifying_makes_no_key(settings: Any) -> None:
    """Otherwise root would make the key, and the hub's account could not read it."""
    settings.AUDIT_KEYS = ()

    assert "There is no chain yet" in run("verify")


def test_a_chain_without_events_is_intact() -> None:
    assert "There is no chain yet" in run("verify")
    seal_events()
    assert verified().is_intact


# Changes


def edit(events: list[Event]) -> None:
    Event.objects.filter(pk=events[14].pk).update(actor_name="mallory")


def edit_detail(events: list[Event]) -> None:
    Event.objects.filter(pk=events[14].pk).update(detail={"names": []})


def edit_time(events: list[Event]) -> None:
    Event.objects.filter(pk=events[14].pk).update(at=F("at") + timedelta(seconds=1))


def spoil_detail(events: list[Event]) -> None:
    with connection.cursor() as cursor:
        deep = '"' + "x" * 10 + '"'
        cursor.execute(
            "UPDATE audit_event SET detail = %s WHERE id = %s", [deep, events[14].pk]
        )


def delete_event(events: list[Event]) -> None:
    Event.objects.filter(pk=events[14].pk).delete()


def delete_event_with_its_seal(events: list[Event]) -> None:
    delete_event(events)
    Seal.objects.filter(pk=15).delete()


def delete_seal(events: list[Event]) -> None:
    Seal.objects.filter(pk=15).delete()


def delete_the_first(events: list[Event]) -> None:
    Event.objects.filter(pk=events[0].pk).delete()
    Seal.objects.filter(pk=1).delete()


def swap_seals(events: list[Event]) -> None:
    for old, new in ((15, 1_000), (18, 15), (1_000, 18)):
        Seal.objects.filter(pk=old).update(sequence=new)


def swap_contents(events: list[Event]) -> None:
    left, right = (
        Event.objects.values("target_name", "detail", "token_id", "at").get(pk=event.pk)
        for event in (events[14], events[17])
    )
    Event.objects.filter(pk=events[14].pk).update(**right)
    Event.objects.filter(pk=events[17].pk).update(**left)


def move_events(events: list[Event]) -> None:
    """Swap two events between seals, and keep the hashes of the places."""
    rows = {
        n: Seal.objects.values("event_id", "at", "content").get(pk=n) for n in (15, 18)
    }
    Seal.objects.filter(pk=15).update(event_id=-1)
    Seal.objects.filter(pk=18).update(**rows[15])
    Seal.objects.filter(pk=15).update(**rows[18])


def insert(events: list[Event]) -> None:
    """Put a new event with a seal between others, and renumber the later ones."""
    (event,) = add_events(1)
    for n in range(EVENTS, 14, -1):
        Seal.objects.filter(pk=n).update(sequence=n + 1)
    Seal.objects.create(
        sequence=15, event=event, at=event.at, content=bytes(32), digest=bytes(32)
    )
    forge(15)


def edit_and_hash_anew(events: list[Event]) -> None:
    edit(events)
    forge(15)


def edit_and_hash_all_anew(events: list[Event]) -> None:
    edit(events)
    forge(*range(15, EVENTS + 1))


def cut_off(events: list[Event]) -> None:
    Event.objects.filter(pk__gte=events[25].pk).delete()
    Seal.objects.filter(pk__gt=25).delete()


def cut_off_with_checkpoint(events: list[Event]) -> None:
    cut_off(events)
    Checkpoint.objects.filter(sequence=EVENTS).delete()


def forge_signature(events: list[Event]) -> None:
    edit_and_hash_all_anew(events)
    for n in (20, 30):
        digest = Seal.objects.get(pk=n).digest
        Checkpoint.objects.filter(sequence=n).update(digest=digest)


def forge_with_another_key(events: list[Event]) -> None:
    edit_and_hash_all_anew(events)
    key = "00" * 32
    for n in (20, 30):
        digest = Seal.objects.get(pk=n).digest
        Checkpoint.objects.filter(sequence=n).update(digest=digest, public_key=key)


def delete_checkpoints(events: list[Event]) -> None:
    Checkpoint.objects.all().delete()


def forge_purge(events: list[Event]) -> None:
    """Pretend that a purge has deleted the oldest events."""
    Event.objects.filter(pk__lte=events[9].pk).delete()
    Seal.objects.filter(pk__lte=10).delete()
    checkpoint = Checkpoint.objects.get(sequence=10)
    checkpoint.pk = None
    checkpoint.kind = "purge"
    checkpoint.detail = {"before": moment(timezone.now())}
    checkpoint.save()


CHANGES: dict[Callable[[list[Event]], None], list[tuple[str, int]]] = {
    edit: [("edited", 15)],
    edit_detail: [("edited", 15)],
    edit_time: [("edited", 15)],
    spoil_detail: [("edited", 15)],
    delete_event: [("missing", 15)],
    delete_event_with_its_seal: [("missing", 15)],
    delete_seal: [("missing", 15)],
    delete_the_first: [("missing", 1)],
    swap_seals: [("reordered", 15)],
    swap_contents: [("reordered", 15), ("reordered", 18)],
    move_events: [("reordered", 15)],
    insert: [("replaced", 16)],
    edit_and_hash_anew: [("replaced", 16)],
    # Between two checkpoints, as exactly as it can be said without the old hashes.
    edit_and_hash_all_anew: [("rewritten", 11), ("rewritten", 21)],
    cut_off: [("missing", 26)],
    cut_off_with_checkpoint: [("unsigned", 21)],
    forge_signature: [("checkpoint", 20), ("checkpoint", 30), ("unsigned", 11)],
    forge_with_another_key: [("checkpoint", 20), ("checkpoint", 30), ("unsigned", 11)],
    delete_checkpoints: [("checkpoint", 30)],
    forge_purge: [("checkpoint", 10), ("missing", 1)],
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_finds_a_change_and_its_place(
    chain: list[Event], change: Callable[[list[Event]], None]
) -> None:
    change(chain)

    report = verified()

    assert not report.is_intact
    assert found(report)[: len(CHANGES[change])] == CHANGES[change]
    with pytest.raises(CommandError) as failure:
        call_command("audit", "verify", stdout=StringIO())
    assert failure.value.returncode == 1
    assert f"the first at sequence {found(report)[0][1]}" in str(failure.value)


@pytest.mark.parametrize(
    "change",
    [edit, delete_event_with_its_seal, swap_seals, edit_and_hash_all_anew, cut_off],
    ids=lambda change: change.__name__,
)
def test_an_export_shows_the_same(
    chain: list[Event], tmp_path: Path, change: Callable[[list[Event]], None]
) -> None:
    change(chain)
    file = tmp_path / "audit.jsonl"
    run("export", "--output", str(file))

    with pytest.raises(CommandError) as failure:
        run("verify", "--file", str(file))

    assert failure.value.returncode == 1
    assert f"the first at sequence {CHANGES[change][0][1]}" in str(failure.value)


def test_the_chain_goes_on_after_a_change_and_still_shows_it(
    chain: list[Event],
) -> None:
    edit_and_hash_all_anew(chain)
    add_events(5)
    seal_all()

    assert ("rewritten", 11) in found(verified())
    assert ("rewritten", 21) in found(verified())


@pytest.mark.parametrize("change", [forge_signature, forge_with_another_key])
def test_nothing_is_sealed_after_a_forged_checkpoint(
    chain: list[Event], change: Callable[[list[Event]], None]
) -> None:
    """Otherwise the next checkpoint would confirm what somebody has written."""
    change(chain)
    add_events(1)

    with pytest.raises(ChainChanged, match="not signed by this hub"):
        seal_events()

    assert state().unsealed == 1


def test_an_event_that_claims_to_be_old_is_pointed_out(chain: list[Event]) -> None:
    add_events(1, at=timezone.now() - timedelta(days=3))
    add_events(1)
    seal_all()

    report = verified()

    assert report.is_intact
    assert (report.late, report.first_late) == (1, 31)
    assert "Older than they should be: 1 events" in run("verify")
    with pytest.raises(CommandError, match="older than they should be"):
        run("verify", "--strict")


# Checkpoints that are kept elsewhere


def test_a_kept_checkpoint_shows_a_chain_that_was_cut_back(
    chain: list[Event], tmp_path: Path
) -> None:
    file = tmp_path / "kept.jsonl"
    run("checkpoints", "--last", "--output", str(file))
    assert "1 compared" in run("verify", "--checkpoints", str(file))
    # The database as it was before the last batch, which looks intact by itself.
    Event.objects.filter(pk__gt=chain[19].pk).delete()
    Seal.objects.filter(pk__gt=20).delete()
    Checkpoint.objects.filter(sequence=EVENTS).delete()
    assert verified().is_intact

    with pytest.raises(CommandError, match="the first at sequence 21"):
        run("verify", "--checkpoints", str(file))
    # Other events in their place don't help.
    add_events(10)
    seal_all()
    assert verified().is_intact
    with pytest.raises(CommandError, match="the first at sequence 21"):
        run("verify", "--checkpoints", str(file))


def test_a_forged_kept_checkpoint_is_no_evidence(
    chain: list[Event], tmp_path: Path
) -> None:
    file = tmp_path / "kept.jsonl"
    run("checkpoints", "--last", "--output", str(file))
    file.write_text(file.read_text().replace('"sequence": 30', '"sequence": 99'))

    with pytest.raises(CommandError, match="the first at sequence 99"):
        run("verify", "--checkpoints", str(file))


# Purges


@pytest.fixture
def old_chain(db: None, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Return sealed events of which the first 24 are more than a year old."""
    monkeypatch.setattr(sealing, "CHECKPOINT_EVENTS", STEP)
    seal_events()
    old = timezone.now() - timedelta(days=400)
    events = [*add_events(24, at=old), *add_events(6)]
    seal_all(STEP)
    return events


def purge() -> int:
    return purge_events(timezone.now() - timedelta(days=365), by=BY)


def test_a_purge_leaves_an_intact_chain(old_chain: list[Event]) -> None:
    assert purge() == 24

    report = verified()

    assert report.is_intact
    assert report.start is not None
    assert (report.start.kind, report.start.sequence) == ("purge", 20)
    # The seals of four purged events remain until the next checkpoint is old.
    assert (report.purged, report.events) == (4, 6)
    assert Seal.objects.order_by("sequence")[0].sequence == 21
    seal_all()
    assert verified().is_intact
    said = run("verify")
    assert "the chain begins after sequence 20" in said
    # A second purge has nothing to delete.
    assert purge() == 0
    assert verified().is_intact


def test_changes_after_a_purge_are_found(old_chain: list[Event]) -> None:
    purge()
    Event.objects.filter(pk=old_chain[26].pk).update(actor_name="mallory")

    assert found(verified()) == [("edited", 27)]


def test_a_purge_hides_no_deletion_of_newer_events(old_chain: list[Event]) -> None:
    Event.objects.filter(pk=old_chain[26].pk).delete()

    purge()

    assert found(verified()) == [("missing", 27)]


def test_a_deleted_purge_checkpoint_is_noticed(old_chain: list[Event]) -> None:
    purge()
    Checkpoint.objects.filter(kind="purge").delete()

    assert found(verified())[0] == ("missing", 1)


def test_a_whole_chain_can_be_purged(old_chain: list[Event]) -> None:
    purge_events(timezone.now() + timedelta(days=1), by=BY)

    report = verified()

    assert report.is_intact
    assert not Seal.objects.exists()
    seal_all()
    report = verified()
    assert report.is_intact
    assert report.first == EVENTS + 1


def test_events_that_were_never_sealed_are_purged(db: None) -> None:
    add_events(3, at=timezone.now() - timedelta(days=400))

    assert purge() == 3

    seal_all()
    assert verified().is_intact


def test_events_out_of_their_order_in_time_are_purged_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealing, "CHECKPOINT_EVENTS", 2)
    old, now = timezone.now() - timedelta(days=400), timezone.now()
    seal_events()
    for at in (old, now, old, old):
        add_events(1, at=at)
        seal_all()

    assert purge() == 3

    report = verified()
    assert report.is_intact
    assert (report.events, report.purged) == (1, 3)


# Keys


NEW_KEY = b"n" * 64


def test_after_a_rotation_both_keys_count(chain: list[Event], settings: Any) -> None:
    settings.AUDIT_KEYS = [NEW_KEY, *settings.AUDIT_KEYS]
    add_events(EVENTS)
    seal_all(STEP)

    assert verified().is_intact
    assert len({row.public_key for row in Checkpoint.objects.all()}) == 2


def test_a_lost_key_stops_sealing_until_a_new_chain_is_begun(
    chain: list[Event], settings: Any
) -> None:
    lost = public_keys()[0]
    settings.AUDIT_KEYS = [NEW_KEY]
    add_events(3)
    with pytest.raises(ChainChanged):
        seal_events()
    with pytest.raises(CommandError):
        run("verify")
    assert "intact" in run("verify", "--public-key", lost)

    said = run("begin", "--reason", "the key was lost")

    assert "A new chain begins after sequence 30" in said
    assert seal_all() == 4
    report = verified()
    assert report.is_intact
    assert (report.first, report.last) == (31, 34)
    assert "begun anew: the key was lost" in run("verify")
    assert Event.objects.filter(action="audit.begin").exists()


def test_a_changed_chain_is_begun_anew_after_its_examination(
    chain: list[Event],
) -> None:
    forge_signature(chain)
    begin_anew("examined")
    add_events(1)
    seal_all()

    assert verified().is_intact


# Files


def run(*words: str) -> str:
    said = StringIO()
    call_command("audit", *words, stdout=said, stderr=StringIO())
    return said.getvalue()


def test_an_export_is_verified_without_the_database(
    chain: list[Event], tmp_path: Path, settings: Any
) -> None:
    add_events(2)
    file = tmp_path / "audit.jsonl"
    run("export", "--output", str(file))
    key = run("key").strip()
    assert file.stat().st_mode & 0o077 == 0
    assert run("export").count("\n") == file.read_text().count("\n")
    for model in (Seal, Checkpoint):
        model.objects.all().delete()
    # Another hub has other keys.
    settings.AUDIT_KEYS = [NEW_KEY]

    said = run("verify", "--file", str(file), "--public-key", key)

    assert "Verified 30 events, sequence 1 to 30" in said
    assert "Not sealed yet: 2" in said
    assert "intact" in said
    with pytest.raises(CommandError, match="broken"):
        run("verify", "--file", str(file))


def test_an_export_after_a_purge_is_verified(
    old_chain: list[Event], tmp_path: Path
) -> None:
    purge()
    file = tmp_path / "audit.jsonl"
    run("export", "--output", str(file))

    said = run("verify", "--file", str(file))

    assert "the chain begins after sequence 20" in said
    assert "intact" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[]\n", "line 1: no JSON object"),
        ("{\n", "line 1: no JSON object"),
        ("[" * 100_000, "line 1: no JSON object"),
        ('{"type": "other"}\n', "is not an export"),
        ('{"type":"audit","format":1}\n{"type":"checkpoint"}\n', "lacks a value"),
        ('{"type":"audit","format":1}\n', "is not complete"),
    ],
)
def test_a_file_that_is_no_export_is_refused(
    db: None, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text(text)

    with pytest.raises(CommandError, match=words) as failure:
        run("verify", "--file", str(file))

    assert failure.value.returncode == 2


def test_an_export_that_was_cut_off_is_refused(
    chain: list[Event], tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    run("export", "--output", str(file))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-5]))

    with pytest.raises(CommandError, match="is not complete"):
        run("verify", "--file", str(file))


def test_an_export_has_a_line_for_each_event(chain: list[Event]) -> None:
    lines = [json.loads(line) for line in run("export").splitlines()]

    events = [line for line in lines if line["type"] == "event"]
    assert [line["id"] for line in events] == [event.pk for event in chain]
    assert events[0]["detail"]["names"] == ["name-0", "é"]
    assert len([line for line in lines if line["type"] == "checkpoint"]) == 4


@pytest.mark.parametrize("key", ["", "abc", "zz" * 32])
def test_a_key_in_another_form_is_refused(chain: list[Event], key: str) -> None:
    with pytest.raises(CommandError, match="64 hexadecimal digits"):
        run("verify", "--public-key", key)


# Leaders


def test_a_controller_of_an_old_epoch_seals_nothing(db: None) -> None:
    old = Records(take_over("one", {}))
    add_events(4)
    assert old.write(seal_events, most=2).number == 2
    new = Records(take_over("another", {}))

    with pytest.raises(Lost):
        old.write(seal_events)
    assert new.write(seal_events).number == 2

    assert verified().is_intact
    assert Seal.objects.count() == 4


def test_signatures_are_of_the_whole_statement(db: None) -> None:
    good = Statement.of(sign("seal", 1, bytes(32), timezone.now(), {"a": 1}))
    line = good.line
    assert Statement.read(line).is_signed(public_keys())

    for change in (
        {"kind": "purge"},
        {"sequence": 2},
        {"digest": "11" * 32},
        {"at": moment(timezone.now() + timedelta(seconds=9))},
        {"detail": {"a": 2}},
        {"signature": "00" * 64},
        {"signature": "zz"},
        {"public_key": "00"},
    ):
        other = Statement.read({**line, **change})
        assert not other.is_signed(["00", *public_keys()]), change
