"""Hubs as separate processes, started by the ordinary command."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / "tests" / "oracle"
sys.path.insert(0, str(ORACLE))

from hubdiff.config import load_configs  # noqa: E402
from hubdiff.play import PortPool  # noqa: E402

CONFIGS = load_configs(ORACLE / "configs")
FIRST_PORT = int(os.environ.get("HUB_TEST_FIRST_PORT", "21700"))
PORTS_PER_WORKER = 40


@pytest.fixture(scope="session")
def ports(worker_number: int) -> PortPool:
    first = FIRST_PORT + worker_number * PORTS_PER_WORKER
    return PortPool(first, first + PORTS_PER_WORKER - 1)


def command(environment: dict[str, str]) -> str:
    """Spell the command that starts our hub, for the harness to fill in."""
    variables = [shlex.quote(f"{name}={value}") for name, value in environment.items()]
    hub = [shlex.quote(sys.executable), shlex.quote(str(ROOT / "manage.py")), "hub"]
    options = ["-f", "{config}", "--data-dir", "{workdir}"]
    return " ".join(["env", "-u", "HUB_DATABASE_URL", *variables, *hub, *options])
