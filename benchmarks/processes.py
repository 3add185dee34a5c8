"""CPU time and memory of whole process trees, read from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds of these processes and of their children that ended.

    `stat` includes threads that have ended, but in steps of 10 ms; `schedstat` is
    exact, but has living threads only. The larger value is more accurate.
    """
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            fields = _stat(pid)
            own = (int(fields[11]) + int(fields[12])) / TICK
            ended = (int(fields[13]) + int(fields[14])) / TICK
            exact = 0
            for thread in os.listdir(f"/proc/{pid}/task"):
                with suppress(OSError):
                    path = Path(f"/proc/{pid}/task/{thread}/schedstat")
                    exact += int(path.read_text().split()[0])
            total += max(own, exact / 1e9) + ended
    return total


def memory_mb(pids: Iterable[int]) -> float:
    """Return the sum of proportional set sizes, in which shared pages count once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def busy_seconds() -> float:
    """Return the CPU seconds of the whole machine since its start."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    values = [int(field) for field in fields]
    return (sum(values) - values[3] - values[4]) / TICK


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
