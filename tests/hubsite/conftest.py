"""Hubs in separate processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.databases import fresh_database
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 240.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"waited in vain until {what}")


def status_of(url: str, secret: str = "") -> int:
    """Return a reply's status, or 0 if nobody listens."""
    headers = {"Authorization": f"token {secret}"} if secret else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=60) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return 0


class RunningHub:
    """A hub started as its operator starts it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.base_url = "/"
        self.data_dir = folder / "data"
        self.port, self.hub_port, self.api_port = free_ports(3)
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HUB_", "DJANGO_", "CONFIGPROXY_"))
        } | env
        self.config = folder / "config.py"
        self.config.write_text(
            f"c.JupyterHub.bind_url = 'http://127.0.0.1:{self.port}'\n"
            f"c.JupyterHub.hub_port = {self.hub_port}\n"
            "c.JupyterHub.authenticator_class = 'local'\n"
            "c.ConfigurableHTTPProxy.api_url = "
            f"'http://127.0.0.1:{self.api_port}'\n"
        )
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base_url}hub/"

    @property
    def own_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}{self.base_url}hub/"

    def declare(self, text: str) -> None:
        self.config.write_text(self.config.read_text() + text + "\n")

    def manage(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        places = ("-f", str(self.config), "--data-dir", str(self.data_dir))
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), command, *places, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, command: str = "hub", *arguments: str) -> None:
        places = ("-f", str(self.config), "--data-dir", str(self.data_dir))
        self.output = (self.folder / "output").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), command, *places, *arguments],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_until(self.is_up, "the hub answers")

    def is_up(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            pytest.fail(f"the hub ended at its start:\n{self.said()}")
        alone = "web" in self.process.args
        greeted = alone or "To stop it" in self.said()
        return greeted and status_of(f"{self.own_url}health") == 200

    def call(self, method: str, path: str, secret: str, body: object) -> None:
        """Change something through the hub's API; it must be granted."""
        request = Request(
            f"{self.own_url}{path}",
            json.dumps(body).encode(),
            {"Authorization": f"token {secret}"},
            method=method,
        )
        # The start of a server is waited for.
        with urlopen(request, timeout=30) as reply:
            assert reply.status < 300

    def get(self, path: str, secret: str) -> Any:
        """Return what the hub's API answers, from JSON."""
        headers = {"Authorization": f"token {secret}"}
        request = Request(f"{self.own_url}{path}", headers=headers)
        with urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def said(self) -> str:
        return (self.folder / "output").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def pids(self) -> dict[str, int]:
        """Return the processes of this hub, by what they are."""
        return dict(self.processes())

    def processes(self) -> Iterator[tuple[str, int]]:
        """Yield what each process of this hub is, its servers and services included."""
        api_url = f"JUPYTERHUB_API_URL=http://127.0.0.1:{self.hub_port}/hub/api\0"
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environ = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().decode()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            started = api_url.encode() in environ
            mine = f"HUB_DATA_DIR={self.data_dir}\0".encode() in environ
            if state == "Z" or not (
                mine or started or str(self.data_dir) in command.split("\0")
            ):
                continue
            words = command.split("\0")
            if started:
                kind = Path(words[1]).stem
            else:
                kind = "proxy" if "--api-port" in words else (*words, "?", "?")[2]
            yield kind, int(entry.name)


@pytest.fixture
def hub(tmp_path: Path, worker_number: int) -> Iterator[RunningHub]:
    """A hub that is not started yet; nothing of it is left afterwards."""
    with fresh_database(f"hub_{worker_number}_{os.getpid()}") as env:
        hub = RunningHub(tmp_path, env)
        yield hub
        if hub.process and hub.process.poll() is None:
            hub.stop()
        for _, pid in list(hub.processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
