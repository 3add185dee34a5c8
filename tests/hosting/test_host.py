"""The process of a hosted class: starts, failures, and calls that wait."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from accounts.backends import admits
from accounts.hosting import client
from accounts.models import User
from scopes.refusals import Unavailable
from tests.factories import make_user
from tests.hosting.sites import OLDEST_JUPYTERHUB, ROOT
from tests.hosting.test_form_classes import HEAD, LISTED

pytestmark = pytest.mark.django_db

SLOW = (
    HEAD
    + """
import pathlib, time
class Slow(Authenticator):
    async def authenticate(self, handler, data):
        while data["username"] == "slow" and not pathlib.Path("go").exists():
            time.sleep(0.05)
        return data["username"]

c.JupyterHub.authenticator_class = Slow
c.Authenticator.allow_all = True
"""
)


def form(name: str) -> dict[str, object]:
    return {
        "method": "POST",
        "uri": "/hub/login",
        "headers": [["Content-Type", "application/x-www-form-urlencoded"]],
        "body": __import__("base64").b64encode(f"username={name}".encode()).decode(),
    }


def test_a_class_that_blocks_delays_nobody_else(host, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    host(SLOW)
    answers = []
    waiting = [
        threading.Thread(
            target=lambda: answers.append(client.call("respond", form("slow"))),
            daemon=True,
        )
        for _ in range(16)
    ]
    for thread in waiting:
        thread.start()
    time.sleep(1)

    began = time.monotonic()
    for number in range(5):
        found = client.call("respond", form(f"quick{number}"))
        assert found["answer"]["name"] == f"quick{number}"
    assert time.monotonic() - began < 5
    assert not answers

    (tmp_path / "go").touch()
    for thread in waiting:
        thread.join(30)
    assert [found["answer"]["name"] for found in answers] == ["slow"] * 16


def test_calls_beyond_the_limit_are_refused(hosting, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with hosting.here(SLOW) as running:
        running.lanes.most = 2
        waiting = [
            threading.Thread(
                target=lambda: client.call("respond", form("slow")), daemon=True
            )
            for _ in range(2)
        ]
        for thread in waiting:
            thread.start()
        time.sleep(1)

        with pytest.raises(Unavailable):
            client.call("respond", form("quick"))

        (tmp_path / "go").touch()
        for thread in waiting:
            thread.join(30)
        assert client.call("respond", form("quick"))["answer"]["name"] == "quick"


def test_a_call_that_takes_too_long_is_given_up(host, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    host(SLOW)

    with pytest.raises(Unavailable, match="did not respond in time"):
        client.call("respond", form("slow"), patience=0.5)
    (tmp_path / "go").touch()


def test_a_class_that_awaits_in_vain_costs_no_lane(hosting, monkeypatch):
    monkeypatch.setattr("accounts.hosting.process.lanes.PATIENCE", 0.3)
    endless = """
import asyncio
class Endless(Authenticator):
    async def authenticate(self, handler, data):
        return data["username"]

    async def refresh_user(self, user, handler=None):
        await asyncio.Event().wait()

c.JupyterHub.authenticator_class = Endless
c.Authenticator.allow_all = True
"""
    with hosting.here(HEAD + endless) as running:
        running.lanes.most = 1
        for _ in range(2):
            with pytest.raises(client.ClassFailed):
                client.call("refresh_user", {"user": {"name": "ada"}}, patience=30)

        assert client.call("respond", form("quick"))["answer"]["name"] == "quick"


BLOCKED = (
    HEAD
    + """
import threading, time
from pathlib import Path
HERE = Path(__file__).parent
class Blocked(Authenticator):
    async def authenticate(self, handler, data):
        name = data["username"]
        if name.startswith("never"):
            threading.Event().wait()
        while name.startswith("slow") and not (HERE / "go").exists():
            time.sleep(0.02)
        if name == "exits":
            raise SystemExit(3)
        return name

c.JupyterHub.authenticator_class = Blocked
c.Authenticator.allow_all = True
"""
)


def begin(*names: str) -> list[threading.Thread]:
    def run(name: str) -> None:
        with suppress(Unavailable, client.ClassFailed):
            client.call("respond", form(name), patience=30)

    threads = [
        threading.Thread(target=run, args=(name,), daemon=True) for name in names
    ]
    for thread in threads:
        thread.start()
    return threads


def test_a_class_that_blocks_for_ever_leaves_lanes_for_others(hosting, monkeypatch):
    monkeypatch.setattr("accounts.hosting.process.lanes.PATIENCE", 0.3)
    monkeypatch.setattr("accounts.hosting.process.lanes.GRACE", 0.3)
    with hosting.here(BLOCKED) as running:
        running.lanes.most = 2
        begin("never1", "never2")
        hosting.wait(lambda: len(running.lanes.lost) == 2)

        for _ in range(3):
            assert client.call("respond", form("quick"))["answer"]["name"] == "quick"
        assert len(running.lanes.all) == 3


def test_a_class_that_ends_its_process_costs_no_lane(hosting, monkeypatch):
    monkeypatch.setattr("accounts.hosting.process.requests.PATIENCE", 1.0)
    with hosting.here(BLOCKED) as running:
        running.lanes.most = 1
        for _ in range(2):
            with pytest.raises(client.ClassFailed):
                client.call("respond", form("exits"))

        assert client.call("respond", form("quick"))["answer"]["name"] == "quick"


def test_lost_lanes_are_no_reason_to_interrupt_a_sign_in(hosting, monkeypatch):
    monkeypatch.setattr("accounts.hosting.process.lanes.GRACE", 0.3)
    monkeypatch.setattr("accounts.hosting.process.lanes.MOST_LOST", 2)
    with hosting.here(BLOCKED) as running:
        monkeypatch.setattr("accounts.hosting.process.lanes.PATIENCE", 0.3)
        begin("never1", "never2")
        hosting.wait(lambda: len(running.lanes.lost) == 2)
        monkeypatch.setattr("accounts.hosting.process.lanes.PATIENCE", 60.0)
        assert running.lanes.are_spent

        waiting = begin("slow")
        hosting.wait(lambda: running.lanes.busy)
        assert not running.lanes.are_spent
        # Unless nobody's calls would find a thread.
        monkeypatch.setattr("accounts.hosting.process.lanes.TOO_MANY_LOST", 2)
        assert running.lanes.are_spent

        (hosting.folder / "go").touch()
        for thread in waiting:
            thread.join(30)
        assert len(running.lanes.lost) == 2


def test_the_command_ends_when_too_many_threads_are_blocked(hosting):
    less = """
from accounts.hosting.process import lanes
lanes.PATIENCE = lanes.GRACE = 0.3
lanes.MOST_LOST = 2
"""
    with hosting.apart(BLOCKED + less) as process:
        begin("never1")
        assert client.call("respond", form("quick"))["answer"]["name"] == "quick"
        begin("never2")

        assert process.wait(30) == os.EX_TEMPFAIL
    assert "2 calls of the class have not returned" in hosting.said()
    assert not Path(hosting.settings.AUTHENTICATOR_ADDRESS).exists()


def test_sign_in_says_that_the_host_is_away(hosting, browser):
    hosting.configure(LISTED)

    page = browser.get("/hub/login")

    assert page.status_code == 503
    assert "Signing in is not possible at the moment" in page.content.decode()
    assert int(page["Retry-After"]) > 0
    assert browser.get("/hub/health").status_code == 200


def test_a_host_that_is_being_started_is_waited_for(hosting, monkeypatch):
    monkeypatch.setattr("accounts.hosting.client.RESTART", 30.0)
    hosting.configure(LISTED)
    found = []
    waiting = threading.Thread(
        target=lambda: found.append(client.call("describe")), daemon=True
    )
    waiting.start()
    time.sleep(0.5)
    assert not found

    with hosting.here(LISTED):
        waiting.join(30)

    assert found


def test_a_host_that_does_not_come_back_is_waited_for_once(hosting, monkeypatch):
    monkeypatch.setattr("accounts.hosting.client.RESTART", 1.0)
    hosting.configure(LISTED)
    waited = []

    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="not possible at the moment"):
            client.call("describe")
        waited.append(time.monotonic() - began)

    assert waited[0] >= 1.0
    assert max(waited[1:]) < 1.0


def test_failures_do_not_count_while_the_host_is_away(hosting, browser):
    with hosting.here(f"{LISTED}c.Authenticator.allow_all = True"):
        page = browser.get("/hub/login")
    fields = {"username": "grace", "_xsrf": browser.xsrf_of(page)}

    for _ in range(8):
        again = browser.post("/hub/login", {**fields, "password": "another-password"})
        assert again.status_code == 503

    with hosting.here(f"{LISTED}c.Authenticator.allow_all = True"):
        assert browser.sign_in("grace", "another-password").status_code == 302


def test_the_socket_is_the_hubs_alone(hosting):
    with hosting.here(LISTED):
        place = Path(hosting.settings.AUTHENTICATOR_ADDRESS)
        assert stat.S_IMODE(place.stat().st_mode) == 0o600

        hosting.settings.AUTHENTICATOR_KEY = "another"
        with pytest.raises(client.ClassFailed, match="403"):
            client.call("describe")
    assert not place.exists()


def test_the_host_may_listen_at_a_port(hosting, worker_number, browser):
    from tests.ports import free_ports

    hosting.settings.AUTHENTICATOR_ADDRESS = f"127.0.0.1:{free_ports(1)[0]}"
    with hosting.here(f"{LISTED}c.Authenticator.allow_all = True"):
        assert browser.sign_in("grace", "another-password").status_code == 302


@pytest.mark.parametrize(
    ("lines", "enter"),
    [
        ("c.Authenticator.allow_all = True", {"ada", "grace", "new"}),
        ("c.Authenticator.allowed_users = {'grace'}", {"ada", "grace"}),
        ("c.Authenticator.allow_existing_users = True", {"ada", "grace"}),
        ("c.Authenticator.blocked_users = {'ada'}", set()),
        (
            "def broken(self, name, authentication=None): raise KeyError(name)\n"
            "UserList.check_allowed = broken",
            set(),
        ),
    ],
)
def test_who_has_a_passkey_enters_if_the_class_would_let_them(host, lines, enter):
    host(LISTED + lines)
    make_user("ada")
    make_user("grace")

    assert {name for name in ("ada", "grace", "new") if admits(name)} == enter


def test_accounts_that_come_and_go_are_known_to_the_class(host):
    host(f"{LISTED}c.Authenticator.allow_existing_users = True")

    assert not admits("ada")
    make_user("ada")
    make_user("grace")
    assert admits("ada") and admits("grace")
    User.objects.get(name="ada").delete()
    assert not admits("ada")


# Starts


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("c.JupyterHub.authenticator_class = 'no.such.Class'", "can't be imported"),
        ("c.JupyterHub.authenticator_class = 'nosuch'", "is installed; there are"),
        (
            "c.Authenticator.username_pattern = '[a-z]+'\n"
            "c.Authenticator.allowed_users = {'9to5'}",
            "'9to5' is no valid username, because it does not match username_pattern",
        ),
        (
            "c.Authenticator.username_pattern = '[a-z]+'\n"
            "c.Authenticator.admin_users = {'9to5'}",
            "c.Authenticator.admin_users: '9to5'",
        ),
        (
            "c.JupyterHub.authenticator_class = 'shared-password'\n"
            "c.SharedPasswordAuthenticator.admin_password = 'short'",
            "admin_password",
        ),
        (
            "c.Authenticator.manage_groups = True\n"
            "c.JupyterHub.load_groups = {'a': []}",
            "c.JupyterHub.load_groups",
        ),
        (
            "c.Authenticator.manage_roles = True\n"
            "c.JupyterHub.load_roles = [{'name': 'tutor', 'scopes': [], "
            "'users': ['ada']}]",
            "tutor",
        ),
        ("c.Authenticator.allowed_users = 5", "allowed_users"),
        (
            "def init(self, **kwargs): raise ValueError('a reason')\n"
            "UserList.__init__ = init",
            "a reason",
        ),
    ],
)
def test_the_host_does_not_start_where_jupyterhub_would_not(hosting, lines, told):
    hosting.file.write_text(LISTED + lines)

    with pytest.raises(Exception, match=r".") as refusal, hosting.here(LISTED + lines):
        pass

    assert told in str(refusal.value)


def test_a_configuration_that_admits_nobody_is_named_once(host, caplog):
    running = host(f"{LISTED}c.UserList.no_such_setting = 1")

    for _ in range(3):
        running.lanes.free.clear()
        client.call("describe")
    assert len(running.lanes.all) == 4
    said = [each for each in caplog.messages if "No allow config found" in each]
    assert len(said) == 1
    assert sum("no_such_setting" in each for each in caplog.messages) == 1
    assert not [each for each in caplog.messages if "`JupyterHub`" in each]


def test_the_command_serves_until_a_signal(hosting, browser):
    with hosting.apart(f"{LISTED}c.Authenticator.allow_all = True") as process:
        assert browser.sign_in("grace", "another-password").status_code == 302
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_command_says_why_it_does_not_start(hosting):
    process = hosting.start("c.JupyterHub.authenticator_class = 'no.such.Class'")

    assert process.wait(60) == 1
    assert "ERROR: The authenticator 'no.such.Class' can't start" in hosting.said()


@pytest.mark.slow
def test_the_oldest_jupyterhub_hosts_classes_too(hosting, browser):
    lines = f"{LISTED}c.Authenticator.allowed_users = {{'grace'}}"
    with hosting.apart(lines, (OLDEST_JUPYTERHUB,)):
        assert browser.sign_in("grace", "wrong").status_code == 403
        assert browser.sign_in("grace", "another-password").status_code == 302


# The command that checks a configuration


@pytest.mark.parametrize(
    ("lines", "told", "status"),
    [
        (
            "c.JupyterHub.authenticator_class = 'shared-password'\n"
            "c.SharedPasswordAuthenticator.admin_password = 'short'",
            "must be at least",
            1,
        ),
        ("c.UserList.no_such_thing = 1", "c.UserList.no_such_thing", 3),
        ("c.UserList.no_such_thing = 1", "c.Authenticator.allow_all", 3),
        ("c.Authenticator.allow_all = True", "hosted unmodified", 0),
    ],
)
def test_a_check_of_the_configuration_tries_the_class(hosting, lines, told, status):
    hosting.file.write_text(LISTED + lines)

    ended = subprocess.run(
        [
            *(sys.executable, str(ROOT / "manage.py"), "check_config", "--json"),
            *("-f", str(hosting.file)),
        ],
        env={name: value for name, value in os.environ.items() if name[:4] != "HUB_"},
        cwd=hosting.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, told in ended.stdout) == (status, True), ended.stdout
