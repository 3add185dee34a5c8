"""Steps of an installation: their output, and which are done already."""

# ruff: noqa: S603 - the programs are ours

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "done"

# Messages of pip, npm and apt without a network.
UNREACHABLE = (
    *("name resolution", "Name or service not known", "Network is unreachable"),
    *("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError"),
    *("EAI_AGAIN", "ENOTFOUND", "ENETUNREACH", "ECONNREFUSED", "ETIMEDOUT"),
    *("Could not resolve", "Could not connect", "Connection refused"),
)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print a step and its duration; on a terminal the seconds count up."""
    begun = time.monotonic()
    over = threading.Event()

    def count() -> None:
        while not over.wait(1):
            print(f"\r{what} … {time.monotonic() - begun:.0f} s ", end="", flush=True)

    on_terminal = sys.stdout.isatty()
    print(f"{what} … ", end="" if on_terminal else "\n", flush=True)
    if on_terminal:
        threading.Thread(target=count, daemon=True).start()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    finally:
        over.set()
    start = f"\r{what} … " if on_terminal else "  "
    print(f"{start}done in {time.monotonic() - begun:.1f} s", flush=True)


def digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def is_done(name: str, state: str) -> bool:
    stamp = STAMPS / name
    return stamp.exists() and stamp.read_text() == state


def done(name: str, state: str) -> None:
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / name).write_text(state)


def run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT)


def download(program: str, command: Sequence[str], mirror: str) -> None:
    """Run `program` for a download; `mirror` describes how to set another source.

    Its output is shown only if it fails for another reason than the network.
    """
    result = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode == 0:
        return
    if any(words in result.stdout for words in UNREACHABLE):
        sys.exit(
            f"ERROR: No network: {program} could not download what is missing. "
            f"Connect this machine, or {mirror}, and run this again."
        )
    print(result.stdout, file=sys.stderr)
    raise subprocess.CalledProcessError(result.returncode, command)


def output_of(command: Sequence[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return ""
