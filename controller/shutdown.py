"""Shutdown of the hub from a web process, and of a process with its parent.

Standard library only and no Django, because the supervisor imports this module too.
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

# The process that started this one and ends with it: the supervisor or the web server.
SUPERVISOR = "HUB_SUPERVISOR_PID"

# Long enough for the response to reach the client through the proxy.
DELAY = 0.3

PR_SET_PDEATHSIG = 1
# Looked up before any fork, because a child process must do as little as possible.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    if _prctl:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The kernel sends no signal for a parent that had ended before that.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def stop_hub(*, servers: bool | None = None, proxy: bool | None = None) -> bool:
    """Have the hub end in a moment; return False if there is no process to end.

    `servers` and `proxy` say whether those end too; None leaves that to the
    configuration. Only a supervisor reads them, because programs that were started
    separately are ended separately.
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
    """Write the shutdown request for the supervisor."""
    wanted = {"cleanup_servers": servers, "cleanup_proxy": proxy}
    request = {key: value for key, value in wanted.items() if value is not None}
    draft = data_dir / f".end.{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(request, file)
    draft.replace(_request_path(data_dir))


def read_shutdown(data_dir: Path) -> dict[str, bool]:
    """Return the shutdown request and delete it; empty if there is none."""
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = json.loads(_request_path(data_dir).read_text())
    with suppress(OSError):
        _request_path(data_dir).unlink()
    return found


def _request_path(data_dir: Path) -> Path:
    return data_dir / "end.json"
