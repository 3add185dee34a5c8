"""Hosted authenticator classes for tests, in this process or in one of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from accounts.hosting import description
from accounts.hosting.process.server import Host
from hubsite.config.environment import Site
from hubsite.config.load import load_config
from hubsite.process.authenticator import place_of

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / ".venv-authenticators"
OLDEST_PLUGINS = ROOT / ".venv-authenticators-oldest"
NEWEST, OLDEST = (PLUGINS,), (OLDEST_PLUGINS, PLUGINS)
OLDEST_JUPYTERHUB = ROOT / ".venv-oldest"
PATIENCE = 60.0

# A configuration whose auth state reaches the server.
WITH_STATE = """
c = get_config()
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.Authenticator.enable_auth_state = True

async def post_auth_hook(authenticator, handler, authentication):
    authentication["auth_state"] = {"project": "physics"}
    return authentication

def auth_state_hook(spawner, auth_state):
    spawner.environment["PROJECT"] = auth_state["project"]

c.Authenticator.post_auth_hook = post_auth_hook
c.Spawner.auth_state_hook = auth_state_hook
"""


class Hosting:
    """Runs the class of a configuration, for the hub of this test."""

    def __init__(self, settings: Any, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.file = folder / "jupyterhub_config.py"
        settings.AUTHENTICATOR_ADDRESS = str(folder / "host.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, text: str) -> None:
        self.file.write_text(dedent(text))
        hub = load_config(self.file)
        assert hub.is_hosted
        # As the tests' own configuration is.
        self.settings.HUB = replace(hub, redirect_to_server=False)
        description.forget()

    @contextmanager
    def here(self, text: str) -> Iterator[Host]:
        """Run the class in a thread of this process."""
        self.configure(text)
        place = place_of(Site(), self.settings.HUB, "a-secret-of-the-test")
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        async def start() -> Host:
            host = Host(
                place,
                self.settings.AUTHENTICATOR_ADDRESS,
                self.settings.AUTHENTICATOR_KEY,
            )
            await host.start()
            return host

        async def stop(host: Host) -> None:
            host.stop()

        try:
            host = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
            yield host
            asyncio.run_coroutine_threadsafe(stop(host), loop).result(PATIENCE)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)

    def start(
        self, text: str, plugins: Sequence[Path] = (), **env: str
    ) -> subprocess.Popen[bytes]:
        """Run the class by the hub's own command; return before it listens."""
        self.configure(text)
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(ROOT / "manage.py"), "authenticator"),
                *("-f", str(self.file), "--data-dir", str(self.folder / "data")),
            ],
            cwd=self.folder,
            env={
                **os.environ,
                "HUB_SECRET_KEY": self.settings.SECRET_KEY,
                "HUB_AUTHENTICATOR_ADDRESS": self.settings.AUTHENTICATOR_ADDRESS,
                "PYTHONPATH": os.pathsep.join(map(str, plugins)),
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
        )
        return self.process

    @contextmanager
    def apart(
        self, text: str, plugins: Sequence[Path] = (), **env: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run the class in a process of its own until the block ends."""
        process = self.start(text, plugins, **env)
        try:
            self.wait(lambda: Path(self.settings.AUTHENTICATOR_ADDRESS).exists())
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.process and self.process.poll() is not None:
                pytest.fail(f"the host ended:\n{self.said()}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited in vain:\n{self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        return (self.folder / "output").read_text()
