"""Checks and helpers for the machine of the tests, common to all backends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 120.0


class Unavailable(Exception):
    """A backend can't run on this machine; the text says why and what would help."""


def find(program: str) -> str | None:
    """Return where a program is; daemons live off ordinary accounts' search path."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def wait_until(
    condition: Callable[[], object],
    what: str,
    explain: Callable[[], str] = str,
    patience: float = PATIENCE,
) -> None:
    """Return once it is so; raise `TimeoutError` with an explanation if it never is."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain until {what}\n{explain()}")
        time.sleep(0.05)


def processes(**environment: str) -> set[int]:
    """Return the processes with all this in their environment; zombies don't count."""
    wanted = {f"{name}={value}".encode() for name, value in environment.items()}
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            given = set((entry / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if state != "Z" and wanted <= given:
            found.add(int(entry.name))
    return found
