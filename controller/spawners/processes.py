"""Processes and logs of local servers.

JupyterHub's local spawners store only a process id. Process ids are reused, and an
ended process may stay as a zombie until it is collected. So the time at which the
process began is stored beside its id.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from typing import IO, Any, Final
from urllib.parse import quote

import structlog
from django.conf import settings

from controller.pids import beginning
from controller.spawners.ports import free_port
from controller.spawners.spawn_context import SpawnContext

log = structlog.get_logger("hub.spawner")

STARTED: Final = "pid_started"
LOG_LIMIT: Final = 5 << 20
LOG_NAME_LENGTH: Final = 200
LAST_BYTES, LAST_LINES = 4096, 20


class LocalProcess:
    """The process of a local spawner."""

    def __init__(self, spawner: Any, context: SpawnContext) -> None:
        self.spawner = spawner
        self.log = ServerLog(log_path(context))
        self.known: tuple[int, int] | None = None
        self._signal = spawner._signal
        spawner._signal = self.signal
        self._make_preexec_fn = spawner.make_preexec_fn
        spawner.make_preexec_fn = self.make_preexec_fn

    def load(self, state: dict[str, Any]) -> None:
        """Read the id and the beginning of the process from a stored state."""
        pid, started = state.get("pid"), state.get(STARTED)
        self.known = (pid, started) if pid and started else None

    def save(self, state: dict[str, Any]) -> dict[str, Any]:
        """Add the beginning of the process to a state, because ids are reused."""
        pid = state.get("pid")
        if not pid:
            return state
        if self.known is None or self.known[0] != pid:
            started = beginning(pid)
            self.known = (pid, started) if started else None
        return state if self.known is None else {**state, STARTED: self.known[1]}

    async def signal(self, number: int) -> bool:
        """Send a signal unless the process is gone; return whether it was there.

        The spawner's own function mistakes a zombie, or a newer process of the same id,
        for its server.
        """
        pid = self.spawner.pid
        if Path("/proc/self").exists():
            started = beginning(pid)
            known = self.known if self.known and self.known[0] == pid else None
            if started is None or (known and known[1] != started):
                return False
        return bool(await self._signal(number))

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Let servers be interrupted even if the hub was started in the background.

        A shell that is not interactive starts such programs with SIGINT ignored, and
        child processes inherit that.
        """
        inner = self._make_preexec_fn(name)

        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if inner is not None:
                inner()

        return prepare

    def before_start(self) -> None:
        """Choose port and log of the process, unless the configuration does."""
        if self.spawner.port == 0:
            self.spawner.port = free_port()
        chosen = dict(self.spawner.popen_kwargs)
        given: dict[str, Any] = {"stdin": DEVNULL}
        if "stdout" not in chosen:
            given |= {"stdout": self.log.begin() or DEVNULL, "stderr": STDOUT}
        self.spawner.popen_kwargs = given | chosen

    def after_start(self) -> None:
        """Close this process's end of the log."""
        self.log.close()

    def last_output(self) -> list[str]:
        """Return the end of the output of the latest start."""
        was_there = self.known is not None or self.spawner.proc is not None
        return self.log.last_lines() if was_there else []

    def tidy(self) -> None:
        """Limit the size of the log."""
        self.log.trim()


def log_path(context: SpawnContext) -> Path:
    """Return the path of a local server's output."""
    parts = [context.user_name, context.name] if context.name else [context.user_name]
    # A quoted name contains no `@`.
    name = "@".join(quote(part, safe="") for part in parts)
    if len(name) > LOG_NAME_LENGTH:
        name = f"{name[:LOG_NAME_LENGTH]}~{context.server_id}"
    return Path(settings.DATA_DIR) / "logs" / "servers" / f"{name}.log"


class ServerLog:
    """The output of one server's latest start, and the end of the output before.

    The server writes to the file itself, so that its output is kept when the hub ends.
    Lines that can't be written are lost, so that a full disk does not stop the server.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = path.with_suffix(".log.1")
        self.file: IO[bytes] | None = None

    def begin(self) -> IO[bytes] | None:
        """Open the file anew for a process to append to; None if that fails."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self.path.replace(self.before)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self.file = os.fdopen(os.open(self.path, flags, 0o600), "ab", buffering=0)
        except OSError as problem:
            log.warning(
                "The output of a server can't be kept",
                path=str(self.path),
                problem=problem.strerror,
            )
        return self.file

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def last_lines(self) -> list[str]:
        """Return the last lines, which may explain why the server ended."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - LAST_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return text.splitlines()[-LAST_LINES:]

    def remove(self) -> None:
        """Delete the files."""
        for path in (self.path, self.before):
            with suppress(OSError):
                path.unlink()

    def trim(self) -> None:
        """Move the latest half to another file when the file is full.

        Processes that have the file open append, so they continue at the new end.
        """
        with suppress(OSError):
            if self.path.stat().st_size <= LOG_LIMIT:
                return
            with suppress(OSError), self.path.open("rb") as full:
                full.seek(-LOG_LIMIT // 2, os.SEEK_END)
                self.before.write_bytes(full.read())
            os.truncate(self.path, 0)
