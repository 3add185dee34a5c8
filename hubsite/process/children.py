"""Child processes of the supervisor, and their logs.

Standard library only and no Django.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from controller.shutdown import die_with
from database.backoff import Backoff

# Seconds for which lines are gathered, because each wake-up costs more than many lines.
PIPE_SIZE = 1 << 20
LOG_LIMIT = 20 << 20
# Full files that are kept of each log: `web.log.1` is the newest. The settings describe
# it, but are not imported here; a wrong value stops the web process.
LOGS_KEPT = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
# The proxy colours its lines even in a file.
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


def open_log(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def logs_kept() -> int:
    text = os.environ.get("HUB_LOG_FILES", "")
    return int(text) if text.isdecimal() and 0 < int(text) <= 1000 else LOGS_KEPT


def make_room_for(path: Path) -> Path:
    """Rename full files of a log, and return the path for the next one."""
    files = [path.with_suffix(f".log.{number}") for number in range(1, logs_kept() + 1)]
    for older, newer in zip(files[:0:-1], files[-2::-1], strict=True):
        with suppress(FileNotFoundError):
            newer.replace(older)
    return files[0]


class Log:
    """A child's lines, in a file of their own and on the terminal."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.path = folder / f"{name}.log"
        self.rest = b""

    def lines(self, data: bytes) -> bytes:
        """Return the complete lines."""
        complete, newline, self.rest = (self.rest + data).rpartition(b"\n")
        return COLOURS.sub(b"", complete) + newline

    def show(self, lines: bytes) -> None:
        if sys.stderr.isatty():
            prefix = f"{self.name:<5} | ".encode()
            lines = b"".join(prefix + line for line in lines.splitlines(True))
        with suppress(OSError):
            sys.stderr.buffer.write(lines)
            sys.stderr.buffer.flush()


class PipedLog(Log):
    """Lines that the supervisor reads and writes to the file."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.file = self._open()

    def _open(self) -> IO[bytes]:
        return os.fdopen(open_log(self.path), "ab", buffering=0)

    def write(self, data: bytes) -> None:
        lines = self.lines(data)
        if not lines:
            return
        # A full disk loses lines, but does not stop the hub.
        with suppress(OSError):
            self.file.write(lines)
            if self.file.tell() > LOG_LIMIT:
                self.path.replace(make_room_for(self.path))
                full, self.file = self.file, self._open()
                full.close()
        self.show(lines)


class OwnLog(Log):
    """Lines that a child writes to the file itself, and the supervisor only shows.

    A child that outlives the supervisor must not write to a pipe that ends with it.
    """

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        with suppress(OSError):
            os.close(open_log(self.path))
        self.seen = self._size()

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def follow(self) -> None:
        """Show new lines, and rotate the file when it is long."""
        with suppress(OSError):
            size = self._size()
            if size < self.seen:
                self.seen = 0
            if size > self.seen:
                with self.path.open("rb") as file:
                    file.seek(self.seen)
                    data = file.read(min(size - self.seen, PIPE_SIZE))
                self.seen += len(data)
                if lines := self.lines(data):
                    self.show(lines)
            if size > LOG_LIMIT:
                # The child has the file open and continues at its new end.
                full = make_room_for(self.path)
                os.close(open_log(full))
                shutil.copyfile(self.path, full)
                os.truncate(self.path, 0)
                self.seen = 0


class Running(Protocol):
    """The interface of a process, whichever process started it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def send_signal(self, sig: int) -> None: ...


class Child:
    """A program that should run, and its process.

    The kernel does not end a child that `outlives` the supervisor. Signals in `ignored`
    are ignored until the program sets handlers, so that a signal during its start does
    not end it.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        env: dict[str, str],
        log: PipedLog | OwnLog,
        *,
        outlives: bool = False,
        ignored: Iterable[int] = (),
    ) -> None:
        self.name, self.command, self.env, self.log = name, command, env, log
        self.outlives, self.ignored = outlives, tuple(ignored)
        self.process: Running
        self.output: IO[bytes] | None = None
        self.started = 0.0
        self.backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)

    def start(self, pass_fds: tuple[int, ...] = ()) -> None:
        self.started = time.monotonic()
        if isinstance(self.log, OwnLog):
            writing = self._open_own()
        else:
            reading, writing = os.pipe()
            self.output = os.fdopen(reading, "rb", buffering=0)
            os.set_blocking(reading, False)
            with suppress(OSError):
                fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - programs of ours
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.STDOUT,
                env=self.env,
                pass_fds=pass_fds,
                # Ctrl-C reaches the supervisor alone, which ends the children in order.
                start_new_session=True,
                preexec_fn=partial(self._settle, os.getpid()),
            )
        finally:
            os.close(writing)

    def _open_own(self) -> int:
        try:
            return open_log(self.log.path)
        except OSError:
            return os.open(os.devnull, os.O_WRONLY)

    def _settle(self, parent: int) -> None:
        if not self.outlives:
            die_with(parent)
        # A shell that starts the hub in the background has all processes ignore the
        # signal.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in self.ignored:
            signal.signal(number, signal.SIG_IGN)

    def adopt(self, process: Running) -> None:
        """Take over a process that another program has started."""
        self.started = time.monotonic()
        self.process = process

    def read(self) -> bool:
        """Pass the child's lines on; return False at the end of the output."""
        if self.output is None or not isinstance(self.log, PipedLog):
            return False
        data = self.output.read(PIPE_SIZE)
        if data is None:
            return True
        # The last line may lack its line end.
        self.log.write(data or b"\n" * bool(self.log.rest))
        return bool(data)

    def follow(self) -> None:
        if isinstance(self.log, OwnLog):
            self.log.follow()

    def signal(self, number: int) -> None:
        # Its workers have the same process group, so all of them get the signal.
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(self.process.pid, number)
                else:
                    self.process.send_signal(number)

    def clean_up(self) -> None:
        """End all processes of a program that has ended, and close its log."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.read()
        if self.output:
            self.output.close()
            self.output = None
        self.follow()
