"""Failures of a controller, after which no server is lost or doubled."""

from __future__ import annotations

import os
import signal
import time

import pytest

from servers.models import Leadership, Server
from tests.controller.site import Site, until
from tokens.models import APIToken

# Each test starts controllers, and some of them several times.
pytestmark = pytest.mark.slow

# A spawner that has its controller killed at one moment of the first start.
DEADLY = """
import os, signal
from jupyterhub.spawner import SimpleLocalProcessSpawner

def die(moment):
    flag = "{folder}/died"
    if moment == "{moment}" and not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)

class Deadly(SimpleLocalProcessSpawner):
    async def start(self):
        die("before the process")
        address = await super().start()
        die("after the process")
        return address

    async def stop(self, now=False):
        die("before the stop")
        await super().stop(now=now)
        die("after the stop")

c.JupyterHub.spawner_class = Deadly
"""


def deadly(site: Site, moment: str) -> str:
    return DEADLY.format(folder=site.folder, moment=moment)


def test_running_servers_are_adopted(site: Site):
    """The controller is killed while nothing happens."""
    first = site.controller()
    for name in ("", "lab"):
        site.start(name=name)
    rows = [site.settled(name=name) for name in ("", "lab")]
    first.kill()
    site.proxy.routes.clear()

    site.controller()
    until(lambda: Server.objects.filter(ready=True).count() == 2)

    for before in rows:
        after = site.settled(name=before.name)
        assert after.state["pid"] == before.state["pid"]
        assert (after.url, after.token_id) == (before.url, before.token_id)
        assert after.started == before.started
    assert len(site.processes()) == 2 and len(site.routes()) == 2
    assert Leadership.objects.get().epoch == 2
    # It is kept, too: what it is wanted to do is done, its end is noticed.
    site.stop(name="lab")
    assert not site.settled(name="lab").ready
    assert len(site.processes()) == 1


@pytest.mark.parametrize("moment", ["before the process", "after the process"])
def test_lost_start_ends_with_one_process(site: Site, moment: str):
    """The controller is killed between effect and commit."""
    site.configure(lines=deadly(site, moment))
    first = site.controller()
    wish = site.start()
    first.process.wait(60)
    assert len(site.processes()) == (moment == "after the process")
    assert site.row().attempt and not site.row().url

    site.controller()
    row = site.settled()

    assert row.ready and row.generation == wish.generation
    assert site.processes() == [row.state["pid"]]
    assert site.answers(row)["pid"] == row.state["pid"]
    issued = APIToken.objects.filter(note="Server at /user/alan/", revoked_at=None)
    assert list(issued) == [row.token]


def test_start_goes_on_under_the_next_controller(site: Site):
    """The controller is killed when the server runs and does not answer yet."""
    site.configure("--wait", "3")
    first = site.controller()
    site.start()
    until(lambda: site.row().url)
    pids = site.processes()
    first.kill()

    site.controller()
    row = site.settled()

    assert row.ready and site.processes() == pids == [row.state["pid"]]


def test_lost_start_that_is_not_wanted_any_more(site: Site):
    site.configure(lines=deadly(site, "after the process"))
    first = site.controller()
    site.start()
    first.process.wait(60)
    site.stop()

    site.controller()
    row = site.settled()

    assert not row.ready and row.token is None and row.attempt == ""
    assert not site.processes()
    assert site.events()[-1]["message"] == "Spawn cancelled"


@pytest.mark.parametrize("moment", ["before the stop", "after the stop"])
def test_lost_stop_is_finished(site: Site, moment: str):
    site.configure(lines=deadly(site, moment))
    first = site.controller()
    site.start()
    site.settled()
    site.stop()
    first.process.wait(60)
    assert site.row().pending == "stop"

    site.controller()
    row = site.settled()

    assert not row.ready and row.token is None and not row.state
    assert not site.processes() and not site.routes()


def test_server_that_ended_meanwhile_is_settled(site: Site):
    first = site.controller()
    site.start()
    row = site.settled()
    first.kill()
    os.kill(row.state["pid"], signal.SIGKILL)

    site.controller()
    row = site.settled()

    assert not row.ready and row.wanted == "stopped" and row.token is None
    assert not site.routes()


def test_wishes_wait_for_a_controller(site: Site):
    site.start()

    site.controller()

    assert site.settled().ready


def test_server_that_answers_nobody_is_stopped_at_takeover(site: Site):
    site.configure(
        lines="""
        c.Spawner.http_timeout = 1
        c.LocalProcessSpawner.interrupt_timeout = 1
        c.LocalProcessSpawner.term_timeout = 1
        """
    )
    first = site.controller()
    site.start()
    pid = site.settled().state["pid"]
    first.kill()
    os.kill(pid, signal.SIGSTOP)

    site.controller()
    row = site.settled()

    assert not row.ready and not site.processes()


def test_server_of_a_blocked_user_is_stopped_at_takeover(site: Site):
    first = site.controller()
    site.start()
    site.settled()
    first.kill()
    site.configure(lines="c.Authenticator.blocked_users = {'alan'}")

    site.controller()

    assert not site.settled().ready and not site.processes()


def test_one_of_two_leads_and_the_other_takes_over(site: Site):
    first = site.controller()
    second = site.controller(leads=False)
    names = [f"user{number}" for number in range(10)]
    for name in names:
        site.start(name)
    pids = {name: site.settled(name).state["pid"] for name in names}
    assert site.epoch() == 1 and not second.says("Leading")

    first.kill()
    began = time.monotonic()
    until(lambda: second.says("Leading"))
    took = time.monotonic() - began
    until(lambda: Server.objects.filter(ready=True).count() == len(names))

    assert took < 1.5
    assert {name: site.row(name).state["pid"] for name in names} == pids
    assert site.processes() == sorted(pids.values())


def test_two_that_start_at_once_do_everything_once(site: Site):
    for number in range(10):
        site.start(f"user{number}")

    def one_leads() -> bool:
        return sum(each.says("Leading") for each in site.controllers) == 1

    site.controllers += [site.new_controller(), site.new_controller()]
    until(one_leads)
    until(lambda: Server.objects.filter(ready=True).count() == 10)

    assert one_leads() and site.epoch() == 1
    pids = [row.state["pid"] for row in Server.objects.all()]
    assert site.processes() == sorted(pids)


def test_killed_again_and_again(site: Site):
    """Starts and stops come while controllers are killed at any moment."""
    names = [f"user{number}" for number in range(8)]
    for turn in range(6):
        controller = site.controller()
        for name in names:
            row = Server.objects.filter(user__name=name).first()
            if row is None or not row.is_active:
                site.start(name)
            elif row.ready and turn % 2:
                site.stop(name)
        time.sleep(0.15 * turn)
        controller.kill()
    site.controller()

    def settled() -> list[Server] | None:
        rows = list(Server.objects.all())
        done = all(not row.pending and row.settled == row.generation for row in rows)
        return rows if done else None

    rows = until(settled, 240)

    running = [row for row in rows if row.ready]
    assert all(row.ready == (row.wanted == "running") for row in rows)
    assert site.processes() == sorted(row.state["pid"] for row in running)
    assert len(site.routes()) == len(running)
    notes = APIToken.objects.filter(note__startswith="Server at", revoked_at=None)
    assert notes.count() == len(running)


@pytest.mark.parametrize("place", ["server", "controller"])
def test_full_disk_for_a_log_loses_nothing(site: Site, place: str):
    if place == "server":
        site.configure(
            *("--log", "-"),
            lines="""
            import os
            full = os.open("/dev/full", os.O_WRONLY)
            c.LocalProcessSpawner.popen_kwargs = {"stdout": full, "stderr": full}
            """,
        )
        controller = site.controller()
    else:
        controller = site.new_controller(log="/dev/full")
        site.controllers.append(controller)
        until(lambda: Leadership.objects.filter(epoch=1).exists())
    site.start()
    row = site.settled()

    assert row.ready and site.answers(row)["pid"] == row.state["pid"]
    controller.kill()
    site.controller()
    assert site.settled().state["pid"] == row.state["pid"]
    site.stop()
    assert not site.settled().ready


def test_server_that_can_not_be_asked_about_is_kept(site: Site):
    """A daemon is away for a moment when another controller takes over."""
    site.configure(
        lines=f"""
        import os
        from jupyterhub.spawner import SimpleLocalProcessSpawner

        class Moody(SimpleLocalProcessSpawner):
            async def poll(self):
                if os.path.exists("{site.folder}/away"):
                    raise RuntimeError("the daemon is away")
                return await super().poll()

        c.JupyterHub.spawner_class = Moody
        """
    )
    first = site.controller()
    site.start()
    before = site.settled()
    first.kill()
    away = site.folder / "away"
    away.touch()
    second = site.controller()
    until(lambda: second.says("The state of a server can't be found out"))
    assert site.row().pending == "check"

    away.unlink()
    after = site.settled()

    assert after.ready and after.state == before.state
    assert site.processes() == [after.state["pid"]]
