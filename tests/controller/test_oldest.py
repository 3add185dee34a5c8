"""The same tests of spawners with the oldest supported JupyterHub."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hubsite.settings import BASE_DIR

OLDEST = BASE_DIR / ".venv-oldest"


@pytest.mark.slow
def test_hosting_works_on_the_oldest_release() -> None:
    """Everything in `test_host` holds there too."""
    if not OLDEST.is_dir():
        pytest.fail("The oldest JupyterHub is missing; `start.py test` installs it.")
    env = {**os.environ, "PYTHONPATH": str(OLDEST)}
    # This test may itself run in a worker of pytest-xdist.
    env = {key: value for key, value in env.items() if "XDIST" not in key}
    python = [sys.executable, "-c"]
    version = subprocess.run(
        [*python, "import jupyterhub; print(jupyterhub.__version__)"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.strip() == "5.3.0"

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", "tests/controller/test_host.py"),
        ],
        cwd=BASE_DIR,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
