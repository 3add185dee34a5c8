"""What ends with what: the hub from within a web process, a process with its parent.

Standard library only and no Django: the supervisor uses it, too.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

# Who started this process and ends with it: the supervisor, or the web server.
SUPERVISOR = "HUB_SUPERVISOR_PID"

# Long enough for the answer to reach whoever asked, through the proxy.
DELAY = 0.3

PR_SET_PDEATHSIG = 1
# Looked up before anybody forks: a child must do as little as can be.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    if _prctl:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The kernel says nothing of a parent that had ended before that.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def stop_hub(*, servers: bool | None = None, proxy: bool | None = None) -> bool:
    """Have the hub end in a moment; False if nothing runs that could end it.

    `servers` and `proxy` say whether those end with it; None leaves that to the
    configuration. Only a supervisor hears of them: what was started separately is
    ended separately.
    """
    supervisor = os.environ.get(SUPERVISOR, "")
    if not supervisor.isdigit():
        return False
    folder = os.environ.get("HUB_DATA_DIR")
    if folder:
        write_shutdown(Path(folder), servers=servers, proxy=proxy)
    Timer(DELAY, os.kill, (int(supervisor), signal.SIGTERM)).start()
    return True


def write_shutdown(data_dir: Path, *, servers: bool | None, proxy: bool | None) -> None:
    """Leave a note of what is to end, for the supervisor that is told to end."""
    said = {"cleanup_servers": servers, "cleanup_proxy": proxy}
    word = {key: value for key, value in said.items() if value is not None}
    draft = data_dir / f".end.{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(
            {key: value for key, value in word.items() if value is not None}, file
        )
    draft.replace(_word(data_dir))


def read_shutdown(data_dir: Path) -> dict[str, bool]:
    """Return what the note says, and remove it; without one nothing was said."""
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = json.loads(_word(data_dir).read_text())
    with suppress(OSError):
        _word(data_dir).unlink()
    return found


def _word(data_dir: Path) -> Path:
    return data_dir / "end.json"
