"""The test files of JupyterHub that run against this hub, and their options."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
# Those that the test run has, and those that are left to the command for now.
ALWAYS = (
    "test_shares.py",
    "test_scopes.py",
    "test_roles.py",
    "test_metrics.py",
    "test_services.py",
    "test_services_auth.py",
    "test_proxy.py",
)
FILES = (
    *ALWAYS,
    "test_api.py",
    "test_named_servers.py",
    "test_pages.py",
    "test_auth_expiry.py",
    "test_objects.py",
)


def make_template(folder: Path) -> Path:
    """Make the data folder of a hub that has its tables and nothing else yet."""
    kept = {key: value for key, value in os.environ.items() if key[:4] != "HUB_"}
    env = kept | {"HUB_DATA_DIR": str(folder)}
    for command in ("migrate", "createcachetable"):
        subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), command, "--verbosity", "0"],
            env=env,
            cwd=folder.parent,
            check=True,
        )
    return folder


def run(
    files: Sequence[str], *arguments: str, template: Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run test files, or single tests, of the JupyterHub that is installed."""
    found = find_spec("jupyterhub.tests")
    assert found and found.submodule_search_locations
    tests = Path(found.submodule_search_locations[0])
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-c", Path(__file__).parent / INI),
                *("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"),
                *("--rootdir", tests, "--basetemp", f"{folder}/hubs"),
                *arguments,
                *(tests / each for each in files),
            ],
            env={
                # In a server of a hub, the tests would report there.
                key: value
                for key, value in os.environ.items()
                if not key.startswith("JUPYTERHUB_")
            }
            | {
                "PYTHONPATH": str(ROOT),
                "PEER_TEMPLATE": str(template),
                # Those of the hub's tests are made for Django.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                # One test starts a proxy itself.
                "PATH": os.pathsep.join(
                    [str(ROOT / "node_modules" / ".bin"), os.environ["PATH"]]
                ),
            },
            cwd=folder,
            text=True,
            check=False,
            **options,
        )


INI = "jupyterhub.ini"
