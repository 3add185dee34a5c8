"""JupyterHub's own tests against this hub, one test here for each file."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests.peer.run import ALWAYS, make_template, run

pytestmark = [pytest.mark.slow, pytest.mark.peer]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the data folder of a new hub, made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "peer" / "data"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder.parent / "made"
        if not made.exists():
            make_template(folder)
            made.touch()
    return folder


@pytest.mark.parametrize("file", ALWAYS)
def test_differs_only_in_known_findings(file: str, template: Path) -> None:
    ended = run(
        [file],
        *("--tb=short", "-rfE"),
        template=template,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert ended.returncode == 0, ended.stdout
