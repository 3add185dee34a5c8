"""A controller when PostgreSQL ends sessions or restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread, Timer

import pytest
from django.db import connection, connections, transaction

from accounts.actions import delete_user
from database.locks import Advisory
from installation import services_for_tests
from scopes.refusals import Invalid
from servers.actions import start_server
from servers.models import Server
from tests.controller.conftest import fill
from tests.controller.site import BY, Site, until

# Each test starts controllers, and some of them several times.
pytestmark = pytest.mark.slow

HOLDERS = (
    "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database "
    "WHERE locktype = 'advisory' AND objid = %s AND granted "
    "AND datname = current_database()"
)


def end_sessions(query: str, *arguments: object) -> int:
    """End the sessions that a query finds, as an operator would."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(pg_terminate_backend(pid)) FROM ({query}) AS found",
            arguments,
        )
        return int(cursor.fetchone()[0])


def test_leader_whose_session_was_ended_leads_again(postgresql_site: Site):
    site = postgresql_site
    controller = site.controller()
    site.start()
    pid = site.settled().state["pid"]

    assert end_sessions(HOLDERS, int(Advisory.CONTROLLER)) == 1
    until(lambda: controller.says("Not leading"))
    until(lambda: controller.says("Leading", 2))

    row = site.settled()
    assert row.ready and row.state["pid"] == pid and site.processes() == [pid]
    os.kill(pid, signal.SIGKILL)
    site.stop()
    assert not site.settled().ready


def test_standby_takes_over_when_the_session_ends(postgresql_site: Site):
    site = postgresql_site
    first = site.controller()
    second = site.controller(leads=False)
    site.start()
    pid = site.settled().state["pid"]

    end_sessions(HOLDERS, int(Advisory.CONTROLLER))
    until(lambda: first.says("Not leading"))
    until(lambda: second.says("Leading") or first.says("Leading", 2))

    assert site.settled().state["pid"] == pid and site.processes() == [pid]


def test_start_survives_the_loss_of_all_sessions(postgresql_site: Site):
    site = postgresql_site
    site.configure("--wait", "2")
    site.controller()
    wish = site.start()
    until(site.processes)

    end_sessions(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    row = site.settled()

    assert row.ready and row.generation == wish.generation
    assert site.processes() == [row.state["pid"]]


def test_leader_that_was_frozen_is_fenced_off(postgresql_site: Site):
    """It wakes up in the belief that it leads, and another does."""
    site = postgresql_site
    first = site.controller()
    site.start()
    pid = site.settled().state["pid"]
    second = site.controller(leads=False)
    first.process.send_signal(signal.SIGSTOP)
    # What the database does when it notices that nobody answers.
    end_sessions(HOLDERS, int(Advisory.CONTROLLER))
    until(lambda: second.says("Leading"))
    site.start("grace")
    site.settled("grace")

    first.process.send_signal(signal.SIGCONT)
    until(lambda: first.says("Not leading"))
    site.start("ada")
    rows = [site.settled(name) for name in ("ada", "grace")]

    assert not first.says("Leading", 2)
    assert site.processes() == sorted([pid, *(row.state["pid"] for row in rows)])


class OwnServer:
    """A PostgreSQL that can be restarted without harm to others."""

    def __init__(self, folder: Path) -> None:
        programs = services_for_tests.find_postgresql()
        self.account = services_for_tests.unprivileged() if os.geteuid() == 0 else None
        if self.account and services_for_tests.VENV in programs.parents:
            pytest.fail("needs PostgreSQL as a package of the system")
        self.programs, self.folder = programs, folder
        self.process = services_for_tests.start_postgresql(
            programs, folder, self.account
        )
        place = str(folder).replace("/", "%2F")
        self.url = f"postgresql://postgres@{place}/postgres"

    def control(self, command: str) -> None:
        """Have it stopped, started or restarted, and wait for that."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        more = ["-o", options] if command == "start" else []
        subprocess.run(
            [
                *(str(self.programs / "pg_ctl"), "-D", str(self.folder / "data")),
                *("-m", "fast", "-w", "-l", str(self.folder / "log-again"), command),
                *more,
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            user=self.account.pw_uid if self.account else None,
            group=self.account.pw_gid if self.account else None,
            extra_groups=[] if self.account else None,
        )


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    with tempfile.TemporaryDirectory(prefix="hub-pg-", dir="/tmp") as name:
        server = OwnServer(Path(name))
        try:
            yield server
        finally:
            server.control("stop")
            server.process.wait(60)


def test_database_is_restarted(own_server: OwnServer, make_site: Callable[[str], Site]):
    """Servers run on, a start under way succeeds, nothing is doubled."""
    site = make_site(own_server.url)
    fill(own_server.url)
    connection.close()
    controller = site.controller()
    site.start()
    pid = site.settled().state["pid"]
    site.configure("--wait", "1")
    site.start("grace")
    connection.close()

    own_server.control("restart")
    until(lambda: controller.says("Leading", 2), 240)
    rows = [site.settled(name, seconds=30) for name in ("alan", "grace")]

    assert all(row.ready for row in rows) and rows[0].state["pid"] == pid
    assert site.processes() == sorted(row.state["pid"] for row in rows)
    own_server.control("stop")
    connection.close()
    until(lambda: controller.says("Not leading", 3), 240)
    own_server.control("start")
    until(lambda: controller.says("Leading", 3), 240)
    site.stop()
    assert not site.settled(seconds=30).ready
    assert Server.objects.filter(ready=True).count() == 1


def test_user_whose_server_is_just_being_started_stays(postgresql_site: Site):
    user = postgresql_site.user("alan")
    has_started, may_commit = Event(), Event()

    def start_slowly() -> None:
        with transaction.atomic():
            start_server(user, "", by=BY)
            has_started.set()
            may_commit.wait(60)
        connections.close_all()

    thread = Thread(target=start_slowly)
    thread.start()
    assert has_started.wait(60)
    Timer(0.5, may_commit.set).start()

    with pytest.raises(Invalid, match="active"):
        delete_user(user, by=BY)

    thread.join()
    assert Server.objects.get().user == user
