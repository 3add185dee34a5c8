"""Whether a process lives, and since when: ids of processes are used again.

Standard library only and no Django: the supervisor uses it, too.
"""

from __future__ import annotations

from pathlib import Path


def beginning(pid: int) -> int | None:
    """Return when a process began, in ticks since boot; None if none lives.

    It lives as long as one of its threads does: the first may end before the others,
    which hold its ports until they do.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is a name in brackets that may hold anything.
    fields = stat.rpartition(b")")[2].split()
    state, threads, began = fields[0], int(fields[17]), int(fields[19])
    return None if state in (b"Z", b"X") and threads <= 1 else began
