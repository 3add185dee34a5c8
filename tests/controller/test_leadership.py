"""A controller that has lost the leadership changes nothing any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db.models import F
from django.utils import timezone

from controller.leadership import FileLock, Lost, new_lock
from controller.records import Outcome, Records, take_over
from controller.spawners.failures import SpawnFailed
from controller.spawners.spawn_context import SpawnContext
from servers.credentials import Requested
from servers.models import Inquiry, Leadership, Server
from tests.controller.site import Site, default_database, until
from tests.factories import make_server, make_user
from tokens.models import APIToken

# Each test starts controllers, and some of them several times.
pytestmark = pytest.mark.slow

WRITES = {
    "begin": lambda records, row: records.begin(row, "0123456789abcdef", Requested()),
    "rehash": lambda records, row: records.rehash(row, "x" * 32, Requested()),
    "keep": lambda records, row: records.keep(row, {"pid": 1}, "http://x:1/"),
    "tell": lambda records, row: records.store_events(row, [{"progress": 1}]),
    "settle_ready": lambda records, row: records.settle_ready(row, {}, "http://x/", []),
    "settle_failed": lambda records, row: records.settle_failed(
        row, {}, SpawnFailed("no"), []
    ),
    "settle_stopped": lambda records, row: records.settle_stopped(
        row, {}, resumes=False, forgotten=False, cancelled={}
    ),
    "stop_all": lambda records, row: records.stop_all(),
    "answer": lambda records, row: records.answer(Inquiry.objects.get().pk, {}),
    "write": lambda records, row: records.write(Server.objects.all().delete),
    "beat": lambda records, row: records.beat(),
}


def image() -> list[object]:
    """Return all that a controller might have changed."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Server, Inquiry, Leadership, APIToken)
    ] + [server.events.count() for server in Server.objects.all()]


@pytest.fixture
def starting(db: None) -> Server:
    server: Server = make_server(make_user("alan"), pending="spawn")
    Server.objects.filter(pk=server.pk).update(wanted="running", generation=1)
    Inquiry.objects.create(kind="poll")
    return server


@pytest.mark.parametrize("name", WRITES)
def test_write_of_an_old_epoch_is_refused(starting: Server, name: str):
    old = Records(take_over("one", {}))
    row = old.read(starting.pk)
    new = Records(take_over("another", {}))
    before = image()

    with pytest.raises(Lost):
        WRITES[name](old, row)

    assert image() == before
    WRITES[name](new, row)
    assert image() != before


def test_write_for_an_old_wish_changes_nothing(starting: Server):
    records = Records(take_over("one", {}))
    row = records.read(starting.pk)
    assert row is not None
    Server.objects.update(generation=F("generation") + 1)
    before = image()

    assert records.begin(row, "0123456789abcdef", Requested()) is None
    assert not records.keep(row, {"pid": 1}, "http://x/")
    assert not records.settle_ready(row, {}, "http://x/", [])
    assert not records.settle_failed(row, {}, SpawnFailed("no"), [])
    records.store_events(row, [{"progress": 1}])
    outcome = records.settle_stopped(
        row, {}, resumes=False, forgotten=False, cancelled={}
    )

    assert outcome is Outcome.OUTDATED
    assert image() == before


def test_taking_over_has_everything_checked(db: None):
    make_server(make_user("alan"), ready=True)
    make_server(make_user("grace"))

    assert take_over("one", {"pid": 1}) == 1
    assert take_over("two", {"pid": 2}) == 2

    states = Server.objects.order_by("pk").values_list("ready", "pending")
    assert list(states) == [(False, "check"), (False, None)]
    row = Leadership.objects.get()
    assert row.holder == "two" and row.facts == {"pid": 2}


def test_removal_waits_until_the_spawner_has_forgotten(starting: Server):
    records = Records(take_over("one", {}))
    Server.objects.update(remove_when_stopped=True, pending="stop")
    row = records.read(starting.pk)
    assert row is not None

    def settle(forgotten: bool) -> Outcome:
        return records.settle_stopped(
            row, {}, resumes=False, forgotten=forgotten, cancelled={}
        )

    assert settle(False) is Outcome.TO_FORGET
    assert Server.objects.exists()
    assert settle(True) is Outcome.SETTLED
    assert not Server.objects.exists()


def test_old_questions_are_forgotten(db: None):
    records = Records(take_over("one", {}))
    Inquiry.objects.create(kind="poll", asked_at=timezone.now() - timezone.timedelta(1))
    fresh = Inquiry.objects.create(kind="poll")

    records.delete_old_calls()

    assert list(Inquiry.objects.all()) == [fresh]


def test_context_of_a_server_that_does_not_exist_yet(db: None):
    make_user("alan")
    records = Records(1)

    context = records.context_of("alan", "lab")

    assert isinstance(context, SpawnContext) and context.name == "lab"
    assert records.context_of("nobody", "") is None


def test_leader_that_was_deposed_stops_acting(site: Site):
    """Somebody counts the epoch up; at its next write the leader knows."""
    controller = site.controller()
    site.start()
    pid = site.settled().state["pid"]
    Leadership.objects.update(epoch=F("epoch") + 10)

    site.start("grace")
    row = site.settled("grace")

    assert row.ready and controller.says("Leading", 2)
    assert site.epoch() == 12
    assert site.settled().state["pid"] == pid
    assert site.processes() == sorted([pid, row.state["pid"]])


def test_lock_file_that_is_gone_ends_the_term(sqlite_site: Site):
    site = sqlite_site
    first = site.controller()
    site.start()
    pid = site.settled().state["pid"]

    (site.folder / "controller.lock").unlink()
    second = site.new_controller()
    site.controllers.append(second)

    # What the first does not know yet, it may not act upon.
    until(lambda: first.says("Not leading"))
    until(lambda: second.says("Leading") or first.says("Leading", 2))
    row = site.settled()
    assert row.ready and row.state["pid"] == pid and site.processes() == [pid]
    until(lambda: second.says("Standing by"))
    assert site.epoch() in (2, 3)


def test_the_lock_is_beside_the_database_whatever_its_folder_is_called(tmp_path: Path):
    folder = tmp_path / "memory"

    with default_database(f"sqlite:///{folder}/hub.sqlite3"):
        lock = new_lock()

    assert isinstance(lock, FileLock) and lock.path == folder / "controller.lock"
