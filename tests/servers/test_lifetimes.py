"""Processes live until the last of their threads has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from controller.pids import beginning

# The first thread ends, and another goes on until it is told to end.
LEADERLESS = """
import ctypes, sys, threading

def go_on():
    print("ready", flush=True)
    sys.stdin.read()
    import os
    os._exit(0)

threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_this_process_has_a_beginning() -> None:
    assert beginning(os.getpid()) == beginning(os.getpid()) is not None


def test_who_has_ended_lives_no_longer_though_nobody_has_asked() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: state(child.pid) == "Z")
    assert beginning(child.pid) is None
    child.wait()
    assert beginning(child.pid) is None


def test_who_has_a_thread_left_lives_on() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LEADERLESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin and child.stdout
    try:
        began = beginning(child.pid)
        child.stdout.readline()
        until(lambda: state(child.pid) == "Z")
        assert beginning(child.pid) == began is not None
        child.stdin.close()
        until(lambda: beginning(child.pid) is None)
    finally:
        child.kill()
        child.wait()
