"""Finding what a start left behind whose controller did not live to store it.

Each start has a random id, its attempt, which is stored before anything happens.
What is started bears it where another controller can look: local processes in their
environment, jobs of Slurm in their comment. Other spawners name what they start after
its owner, so that asking them about a server of which nothing is stored finds it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from controller.spawners.host import HostedSpawner

log = structlog.get_logger("hub.spawner")

VARIABLE: Final = "HUB_ATTEMPT"
COMMENT: Final = "hub:"
LIST_JOBS: Final = 'squeue --noheader --format="%i|%k|%T|%B"'
PATIENCE: Final = 5.0


def mark(spawner: Any, attempt: str) -> None:
    """Let what a spawner is about to start bear its attempt."""
    if not attempt:
        return
    spawner.environment = {**spawner.environment, VARIABLE: attempt}
    if is_slurm(spawner) and not _has_comment(spawner):
        spawner.batch_submit_cmd += f" --comment={COMMENT}{attempt}"


async def find_and_end(hosted: HostedSpawner, attempt: str) -> bool:
    """End what an attempt set going, if it did; say whether there was something."""
    spawner = hosted.spawner
    found = False
    if is_local(spawner) or submits(spawner):
        # A command that submits a job may outlive its controller; were it left, the
        # job would come once nobody looks for it any more.
        found = await _end_processes(attempt)
    if is_slurm(spawner) and not spawner.job_id:
        await _load_job(spawner, attempt)
    if await hosted.poll() is None:
        await hosted.stop()
        found = True
    if found:
        log.info("Ended a start that was lost", server=hosted.facts.label)
    return found


def is_local(spawner: Any) -> bool:
    """Say whether a spawner starts processes of this machine."""
    from jupyterhub.spawner import LocalProcessSpawner

    return isinstance(spawner, LocalProcessSpawner)


def submits(spawner: Any) -> bool:
    """Say whether a spawner runs a command of a batch system."""
    return hasattr(spawner, "batch_submit_cmd")


def is_slurm(spawner: Any) -> bool:
    """Say whether a spawner submits jobs to Slurm, without importing any such."""
    return any(each.__name__ == "SlurmSpawner" for each in type(spawner).__mro__)


# By environment


def processes_of(attempt: str) -> set[int]:
    """Return the ids of the processes that bear an attempt, or descend from one."""
    entry = f"{VARIABLE}={attempt}".encode()
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            # Some end meanwhile, some are not ours to look into.
            with suppress(OSError):
                if entry in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
    return found


async def _end_processes(attempt: str) -> bool:
    if not attempt:
        return False
    found = await asyncio.to_thread(processes_of, attempt)
    if not found:
        return False
    _send(signal.SIGTERM, found)
    for _ in range(int(PATIENCE / 0.1)):
        await asyncio.sleep(0.1)
        found = await asyncio.to_thread(processes_of, attempt)
        if not found:
            return True
    _send(signal.SIGKILL, found)
    return True


def _send(number: int, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


# By comment


def _has_comment(spawner: Any) -> bool:
    """Say whether the site gives its jobs a comment; then it stays."""
    return any(
        "--comment" in text
        for text in (
            spawner.batch_submit_cmd,
            spawner.batch_script,
            spawner.req_options,
        )
    )


async def _load_job(spawner: Any, attempt: str) -> None:
    """Let the spawner know the job that an attempt submitted, if there is one."""
    from batchspawner.batchspawner import format_template

    try:
        prefix = format_template(spawner.exec_prefix, **spawner.get_req_subvars())
        listing = await spawner.run_command(f"{prefix} {LIST_JOBS}".strip())
    except (RuntimeError, LookupError, OSError) as problem:
        log.warning("Slurm does not tell its jobs", problem=str(problem))
        return
    for line in listing.splitlines():
        job, comment, state, host = f"{line}|||".split("|")[:4]
        if comment == f"{COMMENT}{attempt}":
            spawner.load_state({"job_id": job, "job_status": f"{state} {host}"})
            return
