"""Find and end the processes and jobs of a start whose controller ended too early.

Each start has a random id, the attempt, which is stored before anything is started.
Local processes have the attempt in their environment, jobs of Slurm in their comment
(`controller.spawners.kinds.mark`). Other spawners name their resources after the owner,
so that they find them without any stored state.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog

from controller.pids import with_variable
from controller.spawners.kinds import COMMENT, VARIABLE, is_local, is_slurm, submits

if TYPE_CHECKING:
    from controller.spawners.hosted_spawner import HostedSpawner

log = structlog.get_logger("hub.spawner")

LIST_JOBS: Final = 'squeue --noheader --format="%i|%k|%T|%B"'
PATIENCE: Final = 5.0


async def find_and_end(hosted: HostedSpawner, attempt: str) -> bool:
    """End all processes or jobs of an attempt; return whether there were any."""
    spawner = hosted.spawner
    found = False
    if is_local(spawner) or submits(spawner):
        # A command that submits a job may outlive its controller. It is ended too,
        # because its job would start when nothing looks for that job any more.
        found = await _end_processes(attempt)
    if is_slurm(spawner) and not spawner.job_id:
        await _load_job(spawner, attempt)
    if await hosted.poll() is None:
        await hosted.stop()
        found = True
    if found:
        log.info("Ended a start that was lost", server=hosted.context.label)
    return found


# By environment


def processes_of(attempt: str) -> set[int]:
    """Return the ids of the processes of an attempt, and of their descendants."""
    return set(with_variable(VARIABLE, attempt)) - {os.getpid()}


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


async def _load_job(spawner: Any, attempt: str) -> None:
    """Set the spawner's job to the one that an attempt submitted, if there is one."""
    from batchspawner.batchspawner import format_template

    try:
        prefix = format_template(spawner.exec_prefix, **spawner.get_req_subvars())
        listing = await spawner.run_command(f"{prefix} {LIST_JOBS}".strip())
    except (RuntimeError, LookupError, OSError) as problem:
        log.warning("Slurm's jobs can't be listed", problem=str(problem))
        return
    for line in listing.splitlines():
        job, comment, state, host = f"{line}|||".split("|")[:4]
        if comment == f"{COMMENT}{attempt}":
            spawner.load_state({"job_id": job, "job_status": f"{state} {host}"})
            return
