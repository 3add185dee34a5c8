"""The drills, beside a hub with four web processes."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.databases import fresh_database
from tests.hubsite.conftest import RunningHub

SECRET = "a-secret-that-somebody-brought"


class MailServer:
    """Accepts every mail and keeps its text."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rwb") as file:
                self.talk(file)

    def talk(self, file: Any) -> None:
        def say(text: str) -> None:
            file.write(f"{text}\r\n".encode())
            file.flush()

        say("220 here")
        while line := file.readline():
            word = line[:4].upper()
            if word == b"DATA":
                say("354 go on")
                lines = iter(file.readline, b".\r\n")
                self.mails.append(b"".join(lines).decode())
            say("221 bye" if word == b"QUIT" else "250 ok")


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.listener.close()


@pytest.fixture(scope="module")
def drilled(
    mails: MailServer, tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[RunningHub]:
    folder: Path = tmp_path_factory.mktemp("drilled")
    with fresh_database(f"drilled_{worker_number}") as env:
        mailing = {
            "HUB_EMAIL_HOST": "127.0.0.1",
            "HUB_EMAIL_PORT": str(mails.port),
            "HUB_EMAIL_TLS": "none",
        }
        hub = RunningHub(folder, {**env, **mailing, "HUB_WORKERS": "4"})
        hub.declare(
            "c.JupyterHub.services = "
            f"[{{'name': 'ops', 'admin': True, 'api_token': '{SECRET}'}}]"
        )
        hub.start()
        yield hub
        hub.stop()


def names(hub: RunningHub) -> list[str]:
    return [user["name"] for user in hub.get("api/users", SECRET)]


@pytest.mark.slow
def test_no_process_accepts_a_token_after_a_change(drilled: RunningHub) -> None:
    before = names(drilled)

    done = drilled.manage("revocation_drill", "--trials", "198")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "198 trials, 0 stale answers" in done.stdout
    assert "(4 web processes)" in done.stdout
    rows = re.findall(r"^(\w[\w ]+?) +(\d+) +(\d+) +(\d+) +(\d+)$", done.stdout, re.M)
    assert len(rows) == 13
    assert all(int(trials) >= 10 for _, trials, *_ in rows)
    assert all(row[2:] == ("0", "0", "0") for row in rows)
    assert names(drilled) == before


@pytest.mark.slow
def test_a_leaked_token_is_refused_and_its_owner_gets_a_mail(
    drilled: RunningHub, mails: MailServer
) -> None:
    before = names(drilled)
    address = "owner@example.org"

    done = drilled.manage("leak_drill", "--mail-to", address, "--patience", "200")

    assert done.returncode == 0, done.stdout + done.stderr
    figures = re.findall(r"^ *(\d+\.\d{3}) s  (.+)$", done.stdout, re.M)
    assert [what for _, what in figures] == [
        "response to an invented token",
        "response to the leaked token",
        "from the leak to the first refusal",
        "from the leak to the owner's mail",
    ]
    # Another mail, that the token was created, may be sent before the leak.
    (text,) = [mail for mail in mails.mails if "Somebody found a token" in mail]
    assert f"To: {address}" in text
    assert "leak drill" in text
    assert names(drilled) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["revocation_drill", "leak_drill"])
def test_drills_say_that_the_hub_is_away(drilled: RunningHub, command: str) -> None:
    done = drilled.manage(command, "--url", "http://127.0.0.1:9/hub/api")

    assert done.returncode == 1
    assert "start it first" in done.stderr
    assert "Traceback" not in done.stderr
