"""Processes of this machine: whether one is alive, its start, and its environment.

Process ids are reused, so a process is identified by its id and its start.

Standard library only and no Django, because the supervisor imports this module too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def beginning(pid: int) -> int | None:
    """Return when a process began, in ticks since boot; None if it is not alive.

    A process is alive as long as one of its threads is, because the first thread may
    end before the others, which hold the ports of the process until they end.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is a name in brackets, which may contain any character.
    fields = stat.rpartition(b")")[2].split()
    state, threads, began = fields[0], int(fields[17]), int(fields[19])
    return None if state in (b"Z", b"X") and threads <= 1 else began


def with_variable(name: str, value: str) -> Iterator[int]:
    """Yield the ids of processes that have a variable in their environment."""
    entry = f"{name}={value}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        # Some processes end meanwhile, and some belong to other accounts.
        with suppress(OSError):
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def children(parent: int) -> Iterator[int]:
    """Yield the ids of the processes that a process has started itself."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == parent:
                yield int(folder.name)
