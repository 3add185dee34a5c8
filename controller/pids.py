"""Whether a process is alive, and when it began, because process ids are reused.

Standard library only and no Django, because the supervisor imports this module too.
"""

from __future__ import annotations

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
