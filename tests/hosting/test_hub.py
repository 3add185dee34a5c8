"""Hosted classes in a hub as its operator starts it."""

from __future__ import annotations

import os
import signal
import threading
import time
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from tests.hosting.test_form_classes import HEAD, LISTED
from tests.hubsite.conftest import RunningHub, hub, status_of, wait_until

pytestmark = pytest.mark.slow

__all__ = ["hub"]

BLOCKS = (
    HEAD
    + """
import pathlib, time
class Blocks(Authenticator):
    async def authenticate(self, handler, data):
        while data["username"].startswith("slow") and not pathlib.Path("go").exists():
            time.sleep(0.05)
        return data["username"]

c.JupyterHub.authenticator_class = Blocks
c.Authenticator.allow_all = True
"""
)


def sign_in(hub: RunningHub, name: str, password: str) -> tuple[int, str]:
    """Sign in as a browser does; return the last status and address."""
    cookies = CookieJar()
    browser = build_opener(HTTPCookieProcessor(cookies))
    try:
        browser.open(f"{hub.own_url}login", timeout=60).read()
        value = next(each.value for each in cookies if each.name == "_xsrf")
        fields = {"username": name, "password": password, "_xsrf": value}
        form = Request(
            f"{hub.own_url}login?next=/hub/token", urlencode(fields).encode()
        )
        with browser.open(form, timeout=60) as reply:
            return reply.status, reply.url
    except HTTPError as error:
        return error.code, error.url


def test_the_process_is_started_and_started_again(hub: RunningHub) -> None:
    hub.declare(f"{LISTED}c.Authenticator.allow_all = True")
    hub.start()

    assert sign_in(hub, "ada", "a-long-password") == (200, f"{hub.own_url}token")
    assert sign_in(hub, "ada", "wrong")[0] == 403

    before = hub.pids()["authenticator"]
    os.kill(before, signal.SIGKILL)
    assert status_of(f"{hub.own_url}health") == 200
    # A sign-in waits for the process that is started instead.
    wait_until(
        lambda: sign_in(hub, "grace", "another-password")[0] == 200, "it is back"
    )
    assert hub.pids()["authenticator"] != before
    assert hub.stop() == 0


def test_a_hub_that_needs_no_class_has_no_such_process(hub: RunningHub) -> None:
    hub.start()

    assert "authenticator" not in hub.pids()


def test_blocked_sign_ins_delay_neither_pages_nor_other_sign_ins(
    hub: RunningHub,
) -> None:
    hub.declare(BLOCKS)
    hub.start()
    found: list[tuple[int, str]] = []

    def wait_for_class(number: int) -> None:
        found.append(sign_in(hub, f"slow{number}", "x"))

    waiting = [
        threading.Thread(target=wait_for_class, args=(number,)) for number in range(16)
    ]
    for thread in waiting:
        thread.start()
    time.sleep(3)

    began = time.monotonic()
    assert status_of(f"{hub.own_url}health") == 200
    assert status_of(f"{hub.own_url}api/") == 200
    assert sign_in(hub, "quick", "x")[0] == 200
    assert time.monotonic() - began < 10
    assert not found

    (Path(hub.folder) / "go").touch()
    for thread in waiting:
        thread.join(60)
    assert [status for status, _ in found] == [200] * 16


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "c.JupyterHub.authenticator_class = 'shared-password'\n"
            "c.SharedPasswordAuthenticator.admin_password = 'short'",
            "The authenticator 'shared-password' can't start: ",
        ),
        (
            "import time\n"
            "from jupyterhub.auth import Authenticator\n"
            "class Needs(Authenticator):\n"
            "    def __init__(self, **kwargs):\n"
            "        super().__init__(**kwargs)\n"
            "        time.sleep(2)\n"
            "        import no_such_module\n"
            "c.JupyterHub.authenticator_class = Needs\n"
            "c.Authenticator.allow_all = True",
            "The authenticator 'Needs' can't start: No module named 'no_such_module'",
        ),
    ],
)
def test_a_hub_whose_class_refuses_its_settings_never_answers(
    hub: RunningHub, lines: str, told: str
) -> None:
    hub.declare(lines)
    started = threading.Event()
    ended = threading.Event()
    statuses = set()

    def watch() -> None:
        while not ended.is_set():
            statuses.add(status_of(f"{hub.own_url}health"))
            started.set()
            time.sleep(0.02)

    watching = threading.Thread(target=watch)
    watching.start()
    started.wait()
    try:
        result = hub.manage("hub")
    finally:
        ended.set()
        watching.join()

    assert result.returncode == 1
    said = [line for line in result.stderr.splitlines() if "can't start" in line]
    assert len(said) == 1 and told in said[0]
    assert statuses == {0}
