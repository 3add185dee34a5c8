"""Sessions of PAM around a server: JupyterHub's class in the controller."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.spawners.hosted_spawner import Host
from tests.controller.spawners import configuration, context, run
from tests.hosting.test_pam import Services, services

__all__ = ["services"]


@pytest.fixture
def sessions(services: Services) -> Path:
    """Return the file in which the service notes its sessions."""
    noted = services.folder / "noted"
    note = services.folder / "note"
    note.write_text(f'#!/bin/sh\necho "$PAM_TYPE $PAM_USER" >> {noted}\n')
    note.chmod(0o700)
    services.add("with-sessions")
    with (services.folder / "with-sessions").open("a") as file:
        file.write(f"session required pam_exec.so quiet {note}\n")
    return noted


@pytest.mark.parametrize("opens", [True, False])
def test_a_session_is_open_while_the_server_runs(
    tmp_path: Path, settings: Any, sessions: Path, opens: bool
) -> None:
    config = configuration(tmp_path)
    config.JupyterHub.authenticator_class = "pam"
    config.PAMAuthenticator.service = "with-sessions"
    config.PAMAuthenticator.open_sessions = opens
    settings.DATA_DIR = tmp_path / "data"
    settings.AUTHENTICATOR_ADDRESS = str(tmp_path / "nobody.sock")
    settings.HUB = replace(settings.HUB, authenticator_class="hosted", raw=config)

    async def scenario() -> str:
        hosted = Host(config, "simple").spawner(context())
        await hosted.start("the-token")
        while_it_runs = sessions.read_text() if sessions.exists() else ""
        await hosted.stop()
        return while_it_runs

    assert run(scenario()) == ("open_session alan\n" if opens else "")
    after = "open_session alan\nclose_session alan\n" if opens else ""
    assert (sessions.read_text() if sessions.exists() else "") == after
