"""Start, poll and stop servers according to their rows."""

from __future__ import annotations

import os
import signal
import time

import pytest

from accounts.models import User
from oauth.models import OAuthClient
from servers.actions import start_servers, stop_servers
from servers.models import Leadership, Server
from tests.controller.site import BY, Site, until
from tokens.models import APIToken

# Each test starts controllers, and some of them several times.
pytestmark = pytest.mark.slow


def test_starts_and_stops(site: Site):
    site.controller()
    site.start(user_options={"size": "small"})

    row = site.settled()

    assert row.ready and row.wanted == "running" and row.failure == ""
    assert site.answers(row)["path"] == "/user/alan/whoami"
    assert site.processes() == [row.state["pid"]]
    assert site.routes() == {"/user/alan": row.url.removesuffix("/user/alan/")}
    assert row.token.note == "Server at /user/alan/"
    assert OAuthClient.objects.filter(server="alan/").exists()
    path = '<a href="/user/alan/">/user/alan/</a>'
    assert site.events()[-1] == {
        "progress": 100,
        "ready": True,
        "message": "Server ready at /user/alan/",
        "html_message": f"Server ready at {path}",
        "url": "/user/alan/",
    }

    site.stop()
    row = site.settled()

    assert not row.ready and row.wanted == "stopped"
    assert not row.state and row.url == "" and row.attempt == ""
    assert row.started is None and row.token is None
    assert not site.processes() and not site.routes()
    assert not OAuthClient.objects.filter(server="alan/").exists()
    assert not APIToken.objects.filter(
        note="Server at /user/alan/", revoked_at=None
    ).exists()


def test_starts_again_and_removes(site: Site):
    site.controller()
    site.start(name="lab")
    first = site.settled(name="lab").state["pid"]
    site.stop(name="lab")
    site.settled(name="lab")
    site.start(name="lab")
    second = site.settled(name="lab").state["pid"]

    site.stop(name="lab", remove=True)

    assert first != second
    until(lambda: not Server.objects.filter(name="lab").exists())
    assert not site.processes() and not site.routes()


def test_names_the_leader(site: Site):
    controller = site.controller()

    row = Leadership.objects.get()

    assert row.epoch == 1 and row.facts["pid"] == controller.process.pid
    assert row.holder.endswith(f":{controller.process.pid}")
    assert {"host", "started", "spawner", "version"} <= row.facts.keys()


def test_fifty_start_at_once(site: Site):
    """None is lost, none is doubled."""
    site.controller()
    User.objects.bulk_create(User(name=f"user{number}") for number in range(50))
    servers = Server.objects.bulk_create(
        Server(user=user, user_options={})
        for user in User.objects.filter(name__startswith="user")
    )
    chosen = Server.objects.filter(pk__in=[server.pk for server in servers])

    start_servers(chosen, by=BY)
    until(lambda: chosen.filter(ready=True).count() == 50, 240)

    pids = {server.state["pid"] for server in chosen}
    assert len(pids) == 50 and sorted(pids) == site.processes()
    assert len(site.routes()) == 50

    stop_servers(chosen, by=BY)
    until(lambda: not chosen.filter(pending="stop").exists(), 240)
    assert not site.processes() and not site.routes()


def test_start_that_hangs_is_ended(site: Site):
    site.configure("--hang", lines="c.Spawner.http_timeout = 1")
    site.controller()
    site.start()

    row = site.settled()

    assert not row.ready and row.wanted == "stopped" and row.started is None
    assert "didn't respond in 1 seconds" in row.failure
    assert row.failure.startswith("Server at http://127.0.0.1:")
    assert row.failure_status == 500 and row.token is None and not row.state
    last = site.events()[-1]
    assert last["failed"] and last["progress"] == 100
    assert last["message"] == f"Spawn failed: {row.failure}"
    assert not site.processes() and not site.routes()


UNSTORABLE = r"""
def refuse(spawner):
    raise RuntimeError("no file \udcff\0 here")

c.Spawner.pre_spawn_hook = refuse
"""


def test_start_fails_whatever_its_reason_is_written_in(site: Site):
    site.configure(lines=UNSTORABLE)
    site.controller()
    site.start()

    row = site.settled()

    assert row.failure == f"Unhandled error starting server {row.user.name}"
    assert row.failure_detail == (
        "c.Spawner.pre_spawn_hook: RuntimeError: no file ?\ufffd here"
    )
    assert row.generation == 1 and not row.pending


def test_start_that_ends_at_once_fails_promptly(site: Site):
    site.configure("--exit", "3")
    site.controller()
    began = time.monotonic()
    site.start()

    row = site.settled()

    # JupyterHub is imported meanwhile; the server has half a minute to answer.
    assert time.monotonic() - began < 8
    assert "status 3" in row.failure and row.failure_status == 500
    assert not site.processes() and row.token is None


def test_start_that_answers_late_succeeds(site: Site):
    site.configure("--wait", "2")
    site.controller()
    site.start()

    assert site.settled().ready


def test_refusal_of_a_hook_keeps_its_status(site: Site):
    site.configure(
        lines="""
        from tornado.web import HTTPError
        def refuse(spawner):
            raise HTTPError(403, "Not on Sundays")
        c.Spawner.pre_spawn_hook = refuse
        """
    )
    site.controller()
    site.start()

    row = site.settled()

    assert row.failure_status == 403 and "Not on Sundays" in row.failure
    assert row.token is None and not site.processes()


def test_stop_cancels_a_start(site: Site):
    site.configure("--hang")
    site.controller()
    site.start()
    until(site.processes)

    site.stop()
    row = site.settled()

    assert not row.ready and row.failure == "" and row.token is None
    assert site.events()[-1] == {
        "progress": 100,
        "failed": True,
        "message": "Spawn cancelled",
    }
    assert not site.processes()


def test_stop_before_a_start_was_noticed(site: Site):
    """Both wishes came while no controller ran."""
    site.start()
    site.stop()

    site.controller()

    assert not site.settled().ready
    assert site.events()[-1]["message"] == "Spawn cancelled"
    assert not site.processes()


def test_server_that_was_killed_is_noticed(site: Site):
    site.configure(lines="c.Spawner.poll_interval = 1")
    site.controller()
    site.start()
    row = site.settled()
    os.kill(row.state["pid"], signal.SIGKILL)

    until(lambda: not site.row().ready)
    row = site.settled()

    assert row.wanted == "stopped" and row.started is None and row.token is None
    assert not site.routes() and not row.state


def test_deaf_server_is_stopped(site: Site):
    site.configure(
        "--deaf",
        lines="""
        c.LocalProcessSpawner.interrupt_timeout = 1
        c.LocalProcessSpawner.term_timeout = 1
        """,
    )
    site.controller()
    site.start()
    site.settled()
    site.stop()

    assert not site.settled().ready
    assert not site.processes()


def test_too_many_failures_end_the_controller(site: Site):
    site.configure("--exit", "1", lines="c.Spawner.consecutive_failure_limit = 2")
    controller = site.controller()
    for _ in range(2):
        site.start()
        site.settled()

    assert controller.process.wait(60) == 1


def test_events_of_the_spawner_are_stored(site: Site):
    site.configure(
        "--wait",
        "1",
        lines="""
        from jupyterhub.spawner import SimpleLocalProcessSpawner

        class Talking(SimpleLocalProcessSpawner):
            async def progress(self):
                for number in range(2000):
                    yield {"progress": 1 + number % 90, "message": f"step {number}"}

        c.JupyterHub.spawner_class = Talking
        """,
    )
    site.controller()
    site.start()
    site.settled()

    events = site.events()

    assert events[0]["message"] == "Server requested"
    assert events[1]["message"] == "step 0" and events[-1]["ready"]
    assert len(events) <= 502


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_servers_outlive_a_controller_that_ends(site: Site, number: int):
    controller = site.controller()
    site.start()
    pid = site.settled().state["pid"]
    began = time.monotonic()

    assert controller.end(number) == 0
    assert time.monotonic() - began < 3

    assert site.processes() == [pid] and site.row().ready
    site.controller()
    row = site.settled()
    assert row.ready and row.state["pid"] == pid


def test_signal_stops_all_servers(site: Site):
    controller = site.controller()
    for name in ("alan", "grace", "ada"):
        site.start(name)
    for name in ("alan", "grace", "ada"):
        site.settled(name)

    assert controller.end(signal.SIGUSR1) == 0

    assert not site.processes() and not site.routes()
    assert not Server.objects.filter(ready=True).exists()


TELLTALE = """
import subprocess

def tell(spawner):
    with open({place!r}, "wb") as file:
        subprocess.run(["env", "-0"], stdout=file, check=True)

c.Spawner.pre_spawn_hook = tell
"""


def test_programs_of_a_spawner_inherit_no_secret_of_the_hub(site: Site):
    """batchspawner runs commands as the owner, who may read their environment."""
    place = site.folder / "environment"
    site.configure(lines=TELLTALE.format(place=str(place)))
    secrets = {
        "HUB_SECRET_KEY": "secret-1" * 8,
        "HUB_SECRET_KEY_FALLBACKS": "secret-2" * 8,
        "HUB_TAG_KEYS": "secret-3" * 8,
        "HUB_EMAIL_PASSWORD": "secret-4",
        "HUB_OIDC_CLIENT_SECRET": "secret-5",
        "CONFIGPROXY_AUTH_TOKEN": "secret-6",
    }
    site.controller(**secrets)
    site.start()
    assert site.settled().ready

    inherited = dict(
        entry.split("=", 1) for entry in place.read_text().split("\0") if entry
    )

    assert not {*secrets, "HUB_DATABASE_URL", "HUB_REDIS_URL"} & inherited.keys()
    assert "secret-" not in str(inherited)
    assert inherited["HUB_DATA_DIR"] == str(site.folder)
